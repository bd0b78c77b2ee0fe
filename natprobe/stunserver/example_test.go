package stunserver_test

import (
	"context"
	"fmt"

	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func ExampleListen() {
	server, err := stunserver.Listen(context.Background(), stunserver.Config{
		Port1: -1, // any free port; a public server leaves out both lines
		Port2: -1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	fmt.Println(len(server.Addrs()), "sockets on", server.Addrs()[0].Addr())
	// Output: 2 sockets on 127.0.0.1
}
