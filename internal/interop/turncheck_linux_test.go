package interop_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// turncheckResult is what is looked at of the output of turncheck -json.
type turncheckResult struct {
	Transport string  `json:"transport"`
	OK        bool    `json:"ok"`
	Allocate  float64 `json:"allocate_ms"`
	RTT       struct {
		P50 float64 `json:"p50"`
		P95 float64 `json:"p95"`
	} `json:"rtt_ms"`
	Loss     float64         `json:"loss"`
	Relayed  string          `json:"relayed"`
	Lifetime int             `json:"lifetime_s"`
	Features map[string]bool `json:"features"`
	Error    string          `json:"error"`
	Code     int             `json:"code"`
}

// turncheck looks at coturn over all that it has been told to serve.
func TestCoturnTurncheck(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(buildPrograms(t, "turncheck"), "turncheck")
	check := func(t *testing.T, s *turnserver, password string, args ...string) (all []turncheckResult, code int) {
		t.Helper()
		args = append([]string{
			"-json", "-user", turnUser.Username, "-pass", password, "-name", turnHost, "-ca", filepath.Join(filepath.Dir(s.conf), "cert.pem"),
		}, args...)
		args = append(args, fmt.Sprint("turn:127.0.0.1:", s.port), fmt.Sprint("turns:127.0.0.1:", s.port2, "?transport=tcp"), fmt.Sprint("turns:127.0.0.1:", s.port2, "?transport=udp"))
		out, complaints, err := runBounded(exec.Command(bin, args...))
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 4 {
			t.Fatalf("%d ways, %v\n%s%s", len(all), err, out, complaints)
		}
		if strings.Contains(out+complaints, password) {
			t.Errorf("it shows the password:\n%s%s", out, complaints)
		}
		return all, code
	}
	t.Run("all is well", func(t *testing.T) {
		server := newTurnserver(t, "mobility", "max-allocate-lifetime=900")
		all, code := check(t, server, turnUser.Password)
		for i, r := range all {
			if r.Transport != []string{"udp", "tcp", "tls", "dtls"}[i] || !r.OK || r.Loss > 0.1 || r.RTT.P50 <= 0 || r.RTT.P95 < r.RTT.P50 || r.Allocate <= 0 ||
				!strings.HasPrefix(r.Relayed, "127.0.0.1:") || r.Lifetime != 600 || !r.Features["channel"] || !r.Features["mobility"] || r.Features["sha256"] {
				t.Errorf("%+v", r)
			}
			t.Logf("%s: an address in %.1f ms, round trip p50 %.2f ms, p95 %.2f ms", r.Transport, r.Allocate, r.RTT.P50, r.RTT.P95)
		}
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		all, code := check(t, newTurnserver(t), "looking-glass")
		for _, r := range all {
			if r.OK || r.Code != 401 || !strings.Contains(r.Error, "check username and password") {
				t.Errorf("%+v", r)
			}
		}
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("it does not relay to itself", func(t *testing.T) {
		server := newTurnserver(t, "denied-peer-ip=127.0.0.1")
		all, code := check(t, server, turnUser.Password)
		for _, r := range all {
			if r.OK || r.Code != 403 || !strings.Contains(r.Error, "give an echo server by -peer") {
				t.Errorf("%+v", r)
			}
		}
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
		peer := newTurnPeer(t, "127.0.0.2")
		if all, code = check(t, server, turnUser.Password, "-peer", peer.addr.String()); code != 0 || !all[0].OK || !all[1].OK || !all[2].OK {
			t.Errorf("with an echo server: %+v, exit code %d", all, code)
		}
	})
}

// Two programs talk through coturn, as two people would use them.
func TestCoturnRelayExample(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(buildPrograms(t, "relay"), "relay")
	server := newTurnserver(t)
	flags := []string{
		"-turn", fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", server.port), "-turn-user", turnUser.Username, "-turn-pass", turnUser.Password,
	}
	a := startProgram(t, bin, flags...)
	b := startProgram(t, bin, append(flags, "-peer", a.see(t, `our address is (\S+):`))...)
	fmt.Fprintln(a.keys, "/peer", b.see(t, `our address is (\S+):`))
	a.see(t, "lines that you type go to")
	b.see(t, "lines that you type go to")
	fmt.Fprintln(a.keys, "hello from a")
	b.see(t, "peer +hello from a")
	fmt.Fprintln(b.keys, "hello from b")
	a.see(t, "peer +hello from b")
}

// program is a program with a keyboard and a screen.
type program struct {
	keys   io.WriteCloser
	screen *bufio.Scanner
}

// startProgram runs a program until the test ends, and for 20 s at most. Its input ends
// with the test, by which it must end well.
func startProgram(t *testing.T, name string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(name, args...)
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints output
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{keys: keys, screen: bufio.NewScanner(out)}
	late := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		keys.Close()
		for p.screen.Scan() { // it may have more to say
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(name), err, complaints.String())
		}
		late.Stop()
	})
	return p
}

// see reads lines until one matches, and returns what the pattern's last group matched.
func (p *program) see(t *testing.T, pattern string) string {
	t.Helper()
	var all []string
	for re := regexp.MustCompile(pattern); p.screen.Scan(); {
		all = append(all, p.screen.Text())
		if m := re.FindStringSubmatch(p.screen.Text()); m != nil {
			return m[len(m)-1]
		}
	}
	t.Fatalf("no line matches %s:\n%s", pattern, strings.Join(all, "\n"))
	return ""
}
