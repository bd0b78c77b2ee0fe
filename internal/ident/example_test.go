package ident_test

import (
	"bytes"
	"fmt"

	"github.com/bradawl/bradawl/internal/ident"
)

// Two peers that know each other's ID agree on a key without sending anything.
func Example() {
	alice, err := ident.NewIdentity(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := ident.NewIdentity(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	a, _ := ident.DeriveSecret(alice, bob.ID(), "demo")
	b, _ := ident.DeriveSecret(bob, alice.ID(), "demo")
	fmt.Println(bytes.Equal(a, b), len(alice.ID().String()))
	// Output: true 52
}
