package dtlstransport_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/pion/dtls/v3"

	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/dtlstransport"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// Without a transport, turns: means DTLS and then TLS.
func Example() {
	ctx := context.Background()
	client, err := turnclient.Dial(ctx, turnclient.Config{
		Servers:     []string{"turns:turn.example.org"},
		Credentials: turnclient.Credentials{Username: "user", Password: "secret"},
		DTLS:        dtlstransport.Client,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	relay, err := client.Allocate(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(relay.RelayedAddr(), "by", relay.Server())
}

// An association by itself, with a server that sends back what it gets.
func ExampleClient() {
	certificate, trusted, err := turntest.Certificate("echo.example.org")
	if err != nil {
		log.Fatal(err)
	}
	ln, err := dtls.ListenWithOptions("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, dtls.WithCertificates(certificate))
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
		}
	}()

	conn, err := net.Dial("udp4", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	secure, err := dtlstransport.Client(context.Background(), conn, &tls.Config{ServerName: "echo.example.org", RootCAs: trusted})
	if err != nil {
		log.Fatal(err)
	}
	defer secure.Close()
	if _, err := secure.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := secure.Read(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf[:n])
	// Output: hello
}
