package interop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
)

// toolPatience is how long a program may look around.
const toolPatience = 30 * time.Second

// site is a host to look out from, and what is true there.
type site struct {
	name   string
	host   *kernellab.Namespace
	truth  answer
	nested bool // more than one NAT in a row
}

// sites makes a host in each kind of place that the kernel's NAT can make.
func sites(lab *kernellab.Lab) []site {
	private := netip.MustParseAddr("192.168.1.2")
	public := netip.MustParseAddr("198.51.100.1")
	behind := func(name string, c kernellab.NATConfig) *kernellab.Namespace {
		c.Name, c.Public = "nat-"+name, public
		public = public.Next()
		return lab.NAT(c).Host("host-"+name, private)
	}
	return []site{
		{
			"public host", lab.Public("public", netip.MustParseAddr("192.0.2.1")),
			answer{"open", "no", independent, independent, "preserving"},
		},
		{
			"firewall, no NAT", lab.Firewalled("firewall", netip.MustParseAddr("192.0.2.2")),
			answer{"symmetric_firewall", "no", independent, byPort, "preserving"},
		},
		{
			"masquerade", behind("plain", kernellab.NATConfig{}),
			answer{"port_restricted_cone", "yes", independent, byPort, "preserving"},
		},
		{
			"masquerade fully-random", behind("random", kernellab.NATConfig{FullyRandom: true}),
			answer{"symmetric", "yes", byPort, byPort, "random"},
		},
		{
			"snat to 512 ports", behind("block", kernellab.NATConfig{Ports: [2]uint16{40000, 40511}}),
			answer{"port_restricted_cone", "yes", independent, byPort, "block"},
		},
		{
			"masquerade, all UDP forwarded", behind("forward", kernellab.NATConfig{ForwardTo: private}),
			answer{"full_cone", "yes", independent, independent, "preserving"},
		},
		{
			"masquerade, UDP of known addresses forwarded", behind("known", kernellab.NATConfig{ForwardTo: private, KnownOnly: true}),
			answer{"restricted_cone", "yes", independent, byAddress, "preserving"},
		},
		{
			"UDP blocked", behind("blocked", kernellab.NATConfig{BlockUDP: true}),
			answer{"udp_blocked", unknown, unknown, unknown, unknown},
		},
	}
}

func TestNatcheckOnKernelNATs(t *testing.T) {
	lab := kernellab.New(t)
	bin := buildPrograms(t, "stunserver", "natcheck")
	startSTUN(t, lab.Public("server", stun1, stun2), bin)
	rows := atOnce(sites(lab), func(s site) string {
		r := checkNatcheck(t, s, bin, stunAddrs)
		return fmt.Sprintf("%s\t%v\t%d\t%d\t%.2f\n", s.name, r.answer(), r.ElapsedMS, r.Packets, r.Confidence)
	})
	logTable(t, "place\tnatcheck says\telapsed_ms\tpackets\tconfidence\n", rows)
}

// atOnce looks out from all places at the same time; most of it is waiting. It
// returns what look returned, in the order of the places.
func atOnce(all []site, look func(site) string) []string {
	said := make([]string, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { said[i] = look(s) })
	}
	wg.Wait()
	return said
}

// natReport is what is looked at of the output of natcheck -json.
type natReport struct {
	Type      string `json:"type"`
	NAT       string `json:"nat"`
	Mapping   string `json:"mapping"`
	Filtering string `json:"filtering"`
	Ports     struct {
		Model string `json:"model"`
	} `json:"ports"`
	Confidence float64 `json:"confidence"`
	ElapsedMS  int     `json:"elapsed_ms"`
	Packets    int     `json:"packets"`
}

func (r natReport) answer() answer {
	return answer{r.Type, r.NAT, r.Mapping, r.Filtering, r.Ports.Model}
}

// checkNatcheck runs natcheck at a place and checks that it is right.
func checkNatcheck(t *testing.T, s site, bin string, servers []netip.AddrPort) (r natReport) {
	t.Helper()
	var names []string
	for _, a := range servers {
		names = append(names, a.String())
	}
	cmd := s.host.Command(filepath.Join(bin, "natcheck"), "-json", "-fast", "-stun", strings.Join(names, ","))
	out, complaints, err := runBounded(cmd)
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	if err != nil {
		t.Errorf("%s: natcheck: %v\n%s%s", s.name, err, out, complaints)
		return r
	}
	if got := r.answer(); got != s.truth {
		t.Errorf("%s: natcheck says %+v, want %+v:\n%s", s.name, got, s.truth, out)
	}
	return r
}

// runBounded runs a program to its end, which must come within toolPatience.
func runBounded(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	timer := time.AfterFunc(toolPatience, func() { cmd.Process.Kill() })
	err = cmd.Wait()
	if !timer.Stop() {
		err = errors.Join(fmt.Errorf("killed after %v", toolPatience), err)
	}
	return out.String(), complaints.String(), err
}

// logTable logs rows, whose cells are divided by tabs.
func logTable(t *testing.T, head string, rows []string) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\n", head, strings.Join(rows, ""))
	w.Flush()
	t.Log(b.String())
}
