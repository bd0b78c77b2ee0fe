package icechromium_test

import (
	"fmt"
	"strings"

	"github.com/bradawl/bradawl/ice"
)

// description is what a session description says of ICE.
type description struct {
	credentials ice.Credentials
	candidates  []string
}

// write makes a session description of one data channel, as RFC 8841 has it. version
// grows from one description to the next; candidates end with an empty text, or may go on.
func (d description) write(version int, setup, fingerprint string) string {
	lines := []string{
		"v=0", fmt.Sprintf("o=- 1 %d IN IP4 127.0.0.1", version), "s=-", "t=0 0", "a=group:BUNDLE 0",
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sctp-port:5000",
		"a=ice-ufrag:" + d.credentials.Ufrag, "a=ice-pwd:" + d.credentials.Pwd, "a=ice-options:trickle",
		"a=setup:" + setup, "a=fingerprint:sha-256 " + fingerprint,
	}
	for _, c := range d.candidates {
		if c == "" {
			c = "end-of-candidates"
		}
		lines = append(lines, "a="+c)
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// read finds what a session description of Chromium's says.
func read(sdp string) (d description) {
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok {
			d.credentials.Ufrag = text
		} else if text, ok := strings.CutPrefix(line, "a=ice-pwd:"); ok {
			d.credentials.Pwd = text
		} else if strings.HasPrefix(line, "a=candidate:") {
			d.candidates = append(d.candidates, line)
		}
	}
	return d
}
