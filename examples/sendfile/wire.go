package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A transfer is an offer by who sends; a reply by who receives, from where to go on; the bytes
// from there; and a reply again, whether the file is whole. Offer and reply are JSON behind
// their length in two bytes.

// offer is a file that somebody wants to send.
type offer struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Hash []byte `json:"sha256"` // of the whole file
}

// reply is what the receiver says.
type reply struct {
	From  int64  `json:"from"`            // bytes that it has
	Error string `json:"error,omitempty"` // it does not want the file, or could not keep it
}

const (
	maxMessage = 4096
	// patience is how long a side waits for the other without a byte.
	patience = time.Minute
)

func writeMessage(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes, at most %d", len(b), maxMessage)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func readMessage(r io.Reader, v any) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxMessage {
		return fmt.Errorf("a message of %d bytes, at most %d", n, maxMessage)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.New("what came is no message of this program")
	}
	return nil
}

// patient gives up on a peer of whom nothing comes, and who takes nothing.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}
