package natpairs

import (
	"flag"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	runs = flag.Int("runs", 0, "`meetings` of each pair of NATs in the table; 0: no table")
	only = flag.String("nats", "open,full-cone,restricted-cone,port-restricted-cone,symmetric-preserving,symmetric-sequential,"+
		"symmetric-block,symmetric-random,cgnat,udp-blocked", "`presets` of the table")
)

// contestants are who meets.
var contestants = []struct {
	name string
	meet func(*world) outcome
}{{"bradawl", (*world).sessions}, {"pion v4", (*world).pion4}, {"pion v4, no waits", (*world).hasty4}, {"pion v2", (*world).pion2}}

// seed is a meeting's own: what else is measured does not change it.
func seed(nats [2]string, run int) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, nats, run)
	return h.Sum64()
}

// meetings has one contestant's peers meet so many times, each of them dialling every other time.
func meetings(t *testing.T, who int, nats [2]string, runs int) (all []outcome) {
	for run := range runs {
		pair := nats
		if run%2 > 0 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		inWorld(t, seed(nats, run), pair, func(w *world) { all = append(all, contestants[who].meet(w)) })
	}
	return all
}

// cell is what the table says of some meetings.
func cell(all []outcome) string {
	var usable, direct []time.Duration
	for _, o := range all {
		if o.usable > 0 {
			usable = append(usable, o.usable)
		}
		if o.direct > 0 {
			direct = append(direct, o.direct)
		}
	}
	slices.Sort(usable)
	slices.Sort(direct)
	switch {
	case len(usable) == 0:
		return "none"
	case len(direct) == 0:
		return fmt.Sprintf("relay, %.2f s", usable[len(usable)/2].Seconds())
	}
	return fmt.Sprintf("%d %%, %.2f s", 100*len(direct)/len(all), direct[len(direct)/2].Seconds())
}

// Whatever pion's agents get through, ours do, and sooner; and they do where pion's cannot. The
// seed is the network's: the agents' own luck, ours from crypto/rand, is another one each time.
func TestPairs(t *testing.T) {
	for _, c := range []struct {
		nats  [2]string
		pions bool // become direct
	}{
		{[2]string{"port-restricted-cone", "port-restricted-cone"}, true},
		{[2]string{"port-restricted-cone", "symmetric-random"}, false},
		{[2]string{"symmetric-sequential", "symmetric-sequential"}, false},
		{[2]string{"udp-blocked", "full-cone"}, false},
	} {
		t.Run(strings.Join(c.nats[:], "/"), func(t *testing.T) {
			ours := meetings(t, 0, c.nats, 1)[0]
			if ours.direct == 0 {
				t.Errorf("seed %d: ours is %+v, want a direct path", seed(c.nats, 0), ours)
			}
			for who := 1; who < len(contestants); who++ {
				theirs := meetings(t, who, c.nats, 1)[0]
				if theirs.usable <= ours.usable || c.pions != (theirs.direct > 0) || c.pions && theirs.direct <= ours.direct {
					t.Errorf("seed %d: %s is %+v, ours %+v; its direct path is expected: %v", seed(c.nats, 0), contestants[who].name, theirs, ours, c.pions)
				}
			}
		})
	}
}

// TestTable prints what README and docs say of the others.
func TestTable(t *testing.T) {
	if *runs == 0 {
		t.Skip("takes minutes; go test ./natpairs -run Table -runs 20 -v")
	}
	nats := strings.Split(*only, ",")
	direct := make([]int, len(contestants))
	pairs := 0
	table := "| pair |"
	for _, c := range contestants {
		table += " " + c.name + " |"
	}
	table += "\n|---" + strings.Repeat("|---", len(contestants)) + "|\n"
	for i, a := range nats {
		for _, b := range nats[i:] {
			pair := [2]string{a, b}
			row := fmt.Sprintf("| %s, %s |", a, b)
			for who := range contestants {
				got := cell(meetings(t, who, pair, *runs))
				if strings.HasPrefix(got, "100 %") {
					direct[who]++
				}
				row += " " + got + " |"
			}
			pairs++
			t.Log(row)
			table += row + "\n"
		}
	}
	table += fmt.Sprintf("| always direct, of %d |", pairs)
	for _, n := range direct {
		table += fmt.Sprintf(" %d |", n)
	}
	fmt.Println(table)
}
