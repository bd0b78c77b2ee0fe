package ice_test

import (
	"errors"
	"fmt"

	"github.com/bradawl/bradawl/ice"
)

// What a browser gives to onicecandidate, and what it takes back.
func ExampleParseCandidate() {
	c, err := ice.ParseCandidate("candidate:842163049 1 udp 1677729535 198.51.100.7 41231 typ srflx raddr 10.0.0.5 rport 54400 generation 0 ufrag Vf3K")
	if err != nil {
		fmt.Println(err)
		return
	}
	ufrag, _ := c.Extension("ufrag")
	fmt.Println(c.Type, c.Addr, c.Related, ufrag)
	fmt.Println(c)

	// A kind of candidate that is not known yet is no reason to give up on the others.
	_, err = ice.ParseCandidate("candidate:1 1 sctp 1 198.51.100.7 41231 typ host")
	fmt.Println(errors.Is(err, ice.ErrUnknownCandidate))
	// Output:
	// srflx 198.51.100.7:41231 10.0.0.5:54400 Vf3K
	// candidate:842163049 1 udp 1677729535 198.51.100.7 41231 typ srflx raddr 10.0.0.5 rport 54400 generation 0 ufrag Vf3K
	// true
}
