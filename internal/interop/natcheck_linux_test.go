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
	home := func(name string, c kernellab.NATConfig) *kernellab.Namespace {
		c.Name, c.Public = "nat-"+name, public
		public = public.Next()
		return lab.NAT(c).Host("host-"+name, private)
	}
	carrier := lab.NAT(kernellab.NATConfig{
		Name: "carrier", Public: netip.MustParseAddr("192.0.2.3"), Gateway: netip.MustParseAddr("100.64.0.1"), FullyRandom: true,
	})
	return []site{
		{
			name:  "public host",
			host:  lab.Public("public", netip.MustParseAddr("192.0.2.1")),
			truth: answer{"open", "no", independent, independent, "preserving"},
		},
		{
			name:  "firewall, no NAT",
			host:  lab.Firewalled("firewall", netip.MustParseAddr("192.0.2.2")),
			truth: answer{"symmetric_firewall", "no", independent, byPort, "preserving"},
		},
		{
			name:  "masquerade",
			host:  home("plain", kernellab.NATConfig{}),
			truth: answer{"port_restricted_cone", "yes", independent, byPort, "preserving"},
		},
		{
			name:  "masquerade fully-random",
			host:  home("random", kernellab.NATConfig{FullyRandom: true}),
			truth: answer{"symmetric", "yes", byPort, byPort, "random"},
		},
		{
			name:  "snat to 512 ports",
			host:  home("block", kernellab.NATConfig{Ports: [2]uint16{40000, 40511}}),
			truth: answer{"port_restricted_cone", "yes", independent, byPort, "block"},
		},
		{
			name:  "masquerade, all UDP forwarded",
			host:  home("forward", kernellab.NATConfig{ForwardTo: private}),
			truth: answer{"full_cone", "yes", independent, independent, "preserving"},
		},
		{
			name:  "masquerade, UDP of known addresses forwarded",
			host:  home("known", kernellab.NATConfig{ForwardTo: private, KnownOnly: true}),
			truth: answer{"restricted_cone", "yes", independent, byAddress, "preserving"},
		},
		{
			name: "masquerade behind a carrier's fully-random",
			host: carrier.NAT(kernellab.NATConfig{Name: "nat-nested", Public: netip.MustParseAddr("100.64.0.2")}).
				Host("host-nested", private),
			truth:  answer{"symmetric", "yes", byPort, byPort, "random"},
			nested: true,
		},
		{
			name:  "UDP blocked",
			host:  home("blocked", kernellab.NATConfig{BlockUDP: true}),
			truth: answer{"udp_blocked", unknown, unknown, unknown, unknown},
		},
	}
}

func TestNatcheckOnKernelNATs(t *testing.T) {
	lab := kernellab.New(t)
	bin := buildPrograms(t, "stunserver", "natcheck")
	startSTUN(t, lab.Public("server", stun1, stun2), bin)
	rows := atOnce(sites(lab), func(s site) string {
		r := checkNatcheck(t, s, bin, stunAddrs)
		return fmt.Sprintf("%s\t%v\t%s\t%d\t%d\t%.2f\n", s.name, r.answer(), r.Nested, r.ElapsedMS, r.Packets, r.Confidence)
	})
	logTable(t, "place\tnatcheck says\tnested\telapsed_ms\tpackets\tconfidence\n", rows)
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
	Nested     string  `json:"nested"`
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
	if got := r.answer(); got != s.truth || (r.Nested == "yes") != s.nested {
		t.Errorf("%s: natcheck says %+v, nested %s, want %+v, nested %v:\n%s", s.name, got, r.Nested, s.truth, s.nested, out)
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
