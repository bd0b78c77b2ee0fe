package natprobe

// The schedule of a discovery as a value: which question is asked from which socket,
// to which address, and what must be known before. The machine works it off in this
// order, as fast as answers and politeness allow; it holds the rules that keep
// conclusions right:
//
//   - A filtering test runs on a socket of its own, from which nothing is ever sent to
//     the server's other address before the verdict: that would open the filter (RFC
//     5780 section 4.4).
//   - Nothing is ever read about the mapping from a socket that the filter has dropped
//     packets for: connection tracking may give it another port from then on.
//   - Silence is believed only on a socket that hears the same server answer, before
//     and after.

// role is what a socket is for. No two roles share a socket.
type role uint8

const (
	mapper    role = iota // is mapped towards every address asked
	filterAll             // is answered from the server's other address and port
	filterOne             // is answered from the server's other port
	pairEven              // two neighbouring ports, the first one even: they send to
	pairOdd               // each other's outside address
	sampler               // and the following ones: each opens one mapping
)

// question is what a step asks.
type question uint8

const (
	askMapping       question = iota // how the first address sees the socket
	askMappingIP                     // ... the server's other IP, same port
	askMappingOther                  // ... the server's other IP and port
	askMappingServer                 // ... another server
	askFilterAll                     // to be answered from the other IP and port
	askFilterPort                    // to be answered from the other port
	askControl                       // to be answered as usual, on a socket that tests silence
	askChange                        // to be answered from where the socket has sent to already
	askSecond                        // askFilterAll on a second port
	askHairpin                       // the partner's outside address
	askAgain                         // askMappingOther on a second and a third port
	askStray                         // the address whose packets were filtered before
	askSmall                         // ... with a little padding, which every path takes
	askLarge                         // ... with so much that the packet goes in fragments
	askSample                        // the port of a fresh mapping
)

var questions = [...]string{
	"plain", "plain, other IP", "plain, other IP and port", "plain, other server",
	"answer from other IP and port", "answer from other port", "control",
	"answer from other IP and port, expected", "answer from other IP and port, second socket",
	"own outside address", "plain, other IP and port, again", "plain, after what was filtered",
	"with little padding", "with much padding", "plain, fresh port",
}

// target is where a step sends to.
type target uint8

const (
	toPrimary target = iota
	toOtherIP
	toOther
	toServer
	toPartner
)

// gate is what must be known before a step is taken.
type gate uint8

const (
	atStart       gate = iota
	withOther          // the server's other address
	withPartner        // the partner's outside address
	whenSame           // the mapping is the same for the server's two addresses
	whenDifferent      // it is not
	whenOpen           // a packet came in that nothing was sent for
	whenFiltered       // the verdict on filtering, where a mapping test after it can tell
	whenSpare          // there is nothing better to do, or the first server is of no use
	whenFragments      // the behaviour is known, and fragments are asked for
	whenSmall          // ... and padding is understood
	whenPorts          // the behaviour is known, the port model is not
)

// step is one transaction of the schedule.
type step struct {
	question
	on   role
	to   target
	when gate
	// listen: the answer may be silence, so the request is sent a number of times at short
	// intervals. Otherwise it is sent until it is answered.
	listen bool
	arg    int // askMappingServer: which
}

// change is what is asked of the server about its answer's source.
func (q question) change() (ip, port bool) {
	switch q {
	case askFilterAll, askChange, askSecond:
		return true, true
	case askFilterPort:
		return false, true
	}
	return false, false
}

// padding is how many bytes the request is filled up with (RFC 5780 section 7.6).
func (q question) padding() int {
	switch q {
	case askSmall:
		return 400
	case askLarge:
		return 1600 // beyond what an Ethernet takes in one piece
	}
	return 0
}

// plain tells whether the answer comes from where the request goes.
func (q question) plain() bool {
	_, port := q.change()
	return !port && q != askHairpin
}

// schedule is the plan for one server, with spare others.
func schedule(spare []int, hairpin, fragments bool, samples int) []step {
	plan := []step{
		{question: askMapping, on: mapper},
		{question: askControl, on: filterAll},
		{question: askFilterAll, on: filterAll, listen: true},
		{question: askControl, on: filterOne},
		{question: askFilterPort, on: filterOne, listen: true},
		{question: askMapping, on: pairEven},
		{question: askMapping, on: pairOdd},
		{question: askMappingIP, on: mapper, to: toOtherIP, when: withOther},
		{question: askMappingOther, on: mapper, to: toOther, when: withOther},
		{question: askChange, on: mapper, when: whenSame, listen: true},
		{question: askAgain, on: pairEven, to: toOther, when: whenDifferent},
		{question: askAgain, on: pairOdd, to: toOther, when: whenDifferent},
		{question: askSecond, on: filterOne, when: whenOpen, listen: true},
	}
	if hairpin {
		plan = append(plan,
			step{question: askHairpin, on: pairEven, to: toPartner, when: withPartner, listen: true},
			step{question: askHairpin, on: pairOdd, to: toPartner, when: withPartner, listen: true})
	}
	plan = append(plan, step{question: askStray, on: filterAll, to: toOther, when: whenFiltered})
	for _, i := range spare {
		plan = append(plan, step{question: askMappingServer, on: mapper, to: toServer, when: whenSpare, arg: i})
	}
	if fragments {
		plan = append(plan,
			step{question: askSmall, on: mapper, when: whenFragments},
			step{question: askLarge, on: mapper, when: whenSmall, listen: true})
	}
	for i := range samples {
		plan = append(plan, step{question: askSample, on: sampler + role(i), when: whenPorts})
	}
	return plan
}

// maxSamples is how many more ports are sampled where the first five leave the model open.
const maxSamples = 8
