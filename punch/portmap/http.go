package portmap

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// What a router may send us over HTTP.
const (
	maxHead        = 8 << 10
	maxDescription = 256 << 10
	maxSOAP        = 64 << 10
	httpPatience   = 3 * time.Second
)

// httpClient does one exchange at a time, each over a connection of its own. It is not
// net/http, which would follow what a router says to other hosts, and which the session
// must not link.
type httpClient struct {
	m     *Machine
	local netip.AddrPort
	id    machine.StreamID
	buf   []byte
	limit int
	timer machine.Timer
	then  func(now time.Time, status int, body []byte, err error)
}

// do sends a request to an address. then is called once, unless stop is.
func (h *httpClient) do(now time.Time, to netip.AddrPort, request []byte, limit int, then func(time.Time, int, []byte, error)) {
	h.stop()
	h.m.streams++
	h.id, h.buf, h.limit, h.then = h.m.streams, nil, limit, then
	h.m.calls[h.id] = h
	h.timer.Fire = func(now time.Time) {
		h.end(now, machine.Reset, 0, nil, fmt.Errorf("%w over HTTP within %v", ErrNoAnswer, httpPatience))
	}
	h.m.timers.Set(&h.timer, now.Add(httpPatience))
	h.m.out.Push(machine.Transmit{Op: machine.Dial, Stream: h.id, Local: h.local, Remote: to})
	h.m.out.Push(machine.Transmit{Op: machine.Write, Stream: h.id, Data: request})
}

func (h *httpClient) stop() {
	if h.then != nil {
		h.then = nil
		delete(h.m.calls, h.id)
		h.m.timers.Stop(&h.timer)
		h.m.out.Push(machine.Transmit{Op: machine.Reset, Stream: h.id})
	}
}

func (h *httpClient) end(now time.Time, op machine.Op, status int, body []byte, err error) {
	then := h.then
	h.then, h.buf = nil, nil
	delete(h.m.calls, h.id)
	h.m.timers.Stop(&h.timer)
	h.m.out.Push(machine.Transmit{Op: op, Stream: h.id})
	then(now, status, body, err)
}

func (h *httpClient) notice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.Received:
		h.buf = append(h.buf, n.Data...)
		h.read(now, false)
	case machine.Closed:
		if n.Err != nil {
			h.end(now, machine.Reset, 0, nil, n.Err)
			return
		}
		h.read(now, true)
	}
}

func (h *httpClient) read(now time.Time, over bool) {
	status, body, done, err := parseHTTP(h.buf, over, h.limit)
	switch {
	case err != nil:
		h.end(now, machine.Reset, 0, nil, err)
	case done:
		h.end(now, machine.Close, status, body, nil)
	}
}

var errHTTP = bad("its HTTP answer makes no sense")

// parseHTTP reads an answer of which b has arrived so far, and after over nothing more
// will. Its body may be limit long.
func parseHTTP(b []byte, over bool, limit int) (status int, body []byte, done bool, err error) {
	head, rest, ok := cutHead(b)
	switch {
	case !ok && (len(b) > maxHead || over), len(head) > maxHead:
		return 0, nil, false, errHTTP
	case !ok:
		return 0, nil, false, nil
	}
	first, fields, _ := strings.Cut(string(head), "\n")
	version, code, _ := strings.Cut(strings.TrimSpace(first), " ")
	code, _, _ = strings.Cut(code, " ")
	status, err = strconv.Atoi(code)
	switch {
	case err != nil || !strings.HasPrefix(version, "HTTP/1.") || status < 100 || status > 599:
		return 0, nil, false, errHTTP
	case status < 200: // 100 Continue
		return parseHTTP(rest, over, limit)
	case status >= 300 && status < 400:
		return 0, nil, false, bad("redirects to another place (HTTP %d), which is not followed", status)
	}
	length, chunked := -1, false
	for line := range strings.Lines(fields) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil || length < 0 {
				return 0, nil, false, errHTTP
			}
		case "transfer-encoding":
			chunked = strings.EqualFold(value, "chunked")
		}
	}
	switch {
	case chunked:
		body, done, err = dechunk(rest, limit)
		if err == nil && !done && over {
			err = errHTTP
		}
		return status, body, done, err
	case length > limit || len(rest) > limit && length < 0:
		return 0, nil, false, bad("its HTTP answer is longer than %d bytes", limit)
	case length >= 0 && len(rest) >= length:
		return status, rest[:length], true, nil
	case length >= 0 && over:
		return 0, nil, false, errHTTP
	}
	return status, rest, over, nil
}

// cutHead finds the empty line that ends the head; some routers end lines by \n alone.
func cutHead(b []byte) (head, rest []byte, ok bool) {
	if head, rest, ok = bytes.Cut(b, []byte("\r\n\r\n")); ok {
		return head, rest, ok
	}
	return bytes.Cut(b, []byte("\n\n"))
}

// dechunk reads a chunked body (RFC 9112 section 7.1).
func dechunk(b []byte, limit int) (body []byte, done bool, err error) {
	for {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok {
			if len(line) > 64 {
				err = errHTTP
			}
			return nil, false, err
		}
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 31)
		switch {
		case err != nil:
			return nil, false, errHTTP
		case n == 0:
			return body, true, nil
		case uint64(len(body))+n > uint64(limit):
			return nil, false, bad("its HTTP answer is longer than %d bytes", limit)
		case uint64(len(rest)) < n+2:
			return nil, false, nil
		case rest[n] != '\r' || rest[n+1] != '\n':
			return nil, false, errHTTP
		}
		body = append(body, rest[:n]...)
		b = rest[n+2:]
	}
}

// statusError is a status other than success as an error.
func statusError(status int) error {
	return &RouterError{Code: status, Name: "HTTP status"}
}

var errLocation = errors.New("is no http URL with a literal address")
