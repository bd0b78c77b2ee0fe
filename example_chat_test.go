package bradawl_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// converse sends what is typed to the peer, a datagram a line, and prints what comes back. It
// ends with io.EOF when the peer has left.
func converse(conn *bradawl.Conn, typed io.Reader, screen io.Writer) error {
	go func() {
		for lines := bufio.NewScanner(typed); lines.Scan(); {
			_, _ = conn.Write(lines.Bytes()) // over 1,200 bytes it would be ErrTooLong
		}
		conn.Close() // at the end of the input
	}()
	buf := make([]byte, bradawl.MaxDatagram)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		fmt.Fprintf(screen, "%s\n", buf[:n])
	}
}

// Two people talk until one has had enough.
func Example_chat() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer meet.Close()
	web := httptest.NewServer(meet)
	defer web.Close()
	var people [2]*bradawl.Session
	for i := range people {
		people[i], err = bradawl.New(ctx, bradawl.Config{
			Signaler: &rendezvous.Signaler{URL: "ws" + strings.TrimPrefix(web.URL, "http") + "/"}, Loopback: true,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer people[i].Close()
		for !people[i].SignedOn() {
			if _, err := people[i].Next(ctx); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	alice, err := people[0].Dial(ctx, people[1].ID())
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := people[1].Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	typed, keyboard := io.Pipe()
	read, screen := io.Pipe()
	left := make(chan error, 2)
	go func() { left <- converse(alice, typed, io.Discard) }()
	go func() { left <- converse(bob, neverTypes{ctx}, screen) }()
	fmt.Fprintln(keyboard, "hello, bob")
	said, err := bufio.NewReader(read).ReadString('\n')
	fmt.Print("bob reads: ", said)
	keyboard.Close() // alice has had enough
	for range 2 {
		if ended := <-left; errors.Is(ended, io.EOF) {
			fmt.Println("alice has left")
		} else if ctx.Err() != nil || err != nil {
			fmt.Println(ended, err)
		}
	}
	// Output:
	// bob reads: hello, bob
	// alice has left
}

// neverTypes is a keyboard that nobody touches.
type neverTypes struct{ ctx context.Context }

func (k neverTypes) Read([]byte) (int, error) {
	<-k.ctx.Done()
	return 0, io.EOF
}
