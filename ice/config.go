package ice

import (
	"fmt"
	"time"
)

// Protocol figures.
const (
	defaultKeepalive     = 15 * time.Second         // RFC 8445 section 11: Tr
	defaultGatherTimeout = 5 * time.Second          // ours
	defaultPace          = 50 * time.Millisecond    // RFC 8445 section 14.2: Ta
	leastPace            = 5 * time.Millisecond     // RFC 8445 section 14: over all agents
	defaultPairTimeout   = 10 * time.Second         // ours
	defaultTimeout       = 39500 * time.Millisecond // RFC 8863 section 4: as long as a transaction may last
	defaultMaxPairs      = 100                      // RFC 8445 section 6.1.2.5
	defaultConsent       = 5 * time.Second          // RFC 7675 section 5.1
	consentLife          = 30 * time.Second         // RFC 7675 section 5.1
)

// MachineConfig configures a [Machine]. The zero value works.
type MachineConfig struct {
	// Keepalive is how often STUN servers are asked again, so that NATs keep the
	// mappings that peers were told of. Default 15 s; negative: never. At least 1 s.
	// Where the life of a mapping has been measured, a third of it is right: two askings may
	// be lost.
	Keepalive time.Duration

	// GatherTimeout is how long candidates may take to be found until the peer is told
	// that there are no more. Nothing waits for it. Default 5 s, at most 1 minute.
	GatherTimeout time.Duration

	// Score says what candidates are worth. Default: see ScoreConfig.
	Score ScoreConfig

	// History remembers what worked, for scores and for the order of checks. Default nil:
	// nothing is remembered.
	History History

	// Loopback lets peers be at loopback addresses. Default false.
	Loopback bool
}

func (c MachineConfig) withDefaults() (MachineConfig, error) {
	switch {
	case c.Keepalive > 0 && c.Keepalive < time.Second:
		return c, &ConfigError{"Keepalive", fmt.Sprintf("%v is too short; use 0 (15 s), at least 1 s, or a negative value for none", c.Keepalive)}
	case c.GatherTimeout < 0 || c.GatherTimeout > time.Minute:
		return c, &ConfigError{"GatherTimeout", fmt.Sprintf("%v is out of range; use 0 (5 s) to 1 minute", c.GatherTimeout)}
	}
	setDefault(&c.Keepalive, defaultKeepalive)
	setDefault(&c.GatherTimeout, defaultGatherTimeout)
	return c, nil
}

// Policy says which of our candidates a peer may know.
type Policy uint8

// The policies.
const (
	AllCandidates Policy = iota
	NoHost               // no address of the host itself is told, not even as the base of another candidate
	RelayOnly            // only relayed addresses are told and used
)

// AgentConfig configures one agent. The zero value is the controlled side towards any
// conforming agent.
type AgentConfig struct {
	// Controlling makes the agent the one that chooses the pair: of two agents, the
	// one that made the offer. Default false.
	Controlling bool

	// Credentials are ours. Default: made of random characters.
	Credentials Credentials

	// PeerIsLite says that the peer is an ICE-lite agent (RFC 8445 section 2.5). We are
	// controlling then. Default false.
	PeerIsLite bool

	// Policy says which of our candidates are used. Default: all.
	Policy Policy

	// Multipath makes every pair that works stay usable, and the agent move to the best
	// one without another nomination; candidates may follow after the end of candidates.
	// Both sides must want it. Default false: the
	// nominated pair alone carries data (RFC 8445 section 12.1).
	Multipath bool

	// Pace is the least time between two checks, Ta. Default 50 ms; at least 5 ms, for
	// peers that are known to take it.
	Pace time.Duration

	// Patience is how long nomination waits at most for a better pair once one works.
	// Data is not held up by it. Default: one and a half round trips of the pair that
	// works, three if that is relayed. Negative: not at all.
	Patience time.Duration

	// Timeout is when the agent gives up; a check of the peer still revives it. Default
	// 39.5 s (RFC 8863), from 1 s on; negative: never.
	Timeout time.Duration

	// PairTimeout is how long one pair is checked. Default 10 s, from 1 s on.
	PairTimeout time.Duration

	// MaxPairs bounds the check list. Default 100, at most 1000.
	MaxPairs int

	// Consent is how often the peer is asked for its consent on a pair in use, +-20 %
	// (RFC 7675). Default 5 s, and no less; negative: never, and a Binding indication
	// goes out every 15 s instead.
	Consent time.Duration
}

func (c AgentConfig) withDefaults() (AgentConfig, error) {
	if c.Credentials != (Credentials{}) {
		if err := c.Credentials.Check(); err != nil {
			return c, err
		}
	}
	switch {
	case c.Policy > RelayOnly:
		return c, &ConfigError{"Policy", fmt.Sprintf("%d is none; use AllCandidates, NoHost or RelayOnly", c.Policy)}
	case c.Pace != 0 && c.Pace < leastPace:
		return c, &ConfigError{"Pace", fmt.Sprintf("%v is too short; use 0 (50 ms) or at least 5 ms", c.Pace)}
	case c.Timeout > 0 && c.Timeout < time.Second:
		return c, &ConfigError{"Timeout", fmt.Sprintf("%v is too short; use 0 (39.5 s), at least 1 s, or a negative value for none", c.Timeout)}
	case c.PairTimeout != 0 && c.PairTimeout < time.Second:
		return c, &ConfigError{"PairTimeout", fmt.Sprintf("%v is too short; use 0 (10 s) or at least 1 s", c.PairTimeout)}
	case c.MaxPairs < 0 || c.MaxPairs > 1000:
		return c, &ConfigError{"MaxPairs", fmt.Sprintf("%d is out of range; use 0 (100) to 1000", c.MaxPairs)}
	case c.Consent > 0 && c.Consent < defaultConsent:
		return c, &ConfigError{"Consent", fmt.Sprintf("%v is too often; use 0 (5 s), more, or a negative value for none", c.Consent)}
	}
	if c.PeerIsLite {
		c.Controlling = true // RFC 8445 section 6.1.1
	}
	setDefault(&c.Pace, defaultPace)
	setDefault(&c.Timeout, defaultTimeout)
	setDefault(&c.PairTimeout, defaultPairTimeout)
	setDefault(&c.MaxPairs, defaultMaxPairs)
	setDefault(&c.Consent, defaultConsent)
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
