package bradawl_test

import (
	"bytes"
	"fmt"

	"github.com/bradawl/bradawl"
)

// Two peers that know each other's PeerID share a secret that nobody between them
// knows, for punch.UDPConfig.Secret.
func ExampleDeriveSecret() {
	alice, err := bradawl.NewIdentity()
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := bradawl.NewIdentity()
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := bradawl.DeriveSecret(alice, bob.ID(), "my program, attempt 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bradawl.DeriveSecret(bob, alice.ID(), "my program, attempt 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(a), bytes.Equal(a, b))
	// Output: 32 true
}
