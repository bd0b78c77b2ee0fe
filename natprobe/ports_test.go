package natprobe

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// drawn makes samples of the ports given, a tenth of a second apart.
func drawn(mapped ...int) []portSample {
	var s []portSample
	for i, p := range mapped {
		s = append(s, portSample{at: t0.Add(time.Duration(i) * 100 * time.Millisecond), order: i, local: uint16(40000 + 2*i), mapped: uint16(p), clean: true})
	}
	return s
}

func TestPortModels(t *testing.T) {
	same := drawn(1, 2, 3, 4, 5)
	for i := range same {
		same[i].mapped = same[i].local
	}
	collided := slices.Clone(same)
	collided[1].mapped = 5 // somebody had that port
	for name, tt := range map[string]struct {
		samples []portSample
		want    PortModel
		delta   int
	}{
		"none":                         {nil, PortsUnknown, 0},
		"one":                          {drawn(5), PortsUnknown, 0},
		"three":                        {drawn(5, 6, 7), PortsUnknown, 0},
		"preserved":                    {same, PortsPreserving, 0},
		"preserved but one":            {collided, PortsPreserving, 0},
		"in steps of one":              {drawn(50000, 50001, 50002, 50003), PortsSequential, 1},
		"in steps of two":              {drawn(50000, 50002, 50004, 50006), PortsSequential, 2},
		"downwards":                    {drawn(50006, 50003, 50000, 49997), PortsSequential, -3},
		"in steps of two, with others": {drawn(50000, 50004, 50006, 50012, 50014, 50016), PortsSequential, 2},
		"over the end":                 {drawn(65533, 65534, 65535, 1024, 1025, 1026), PortsSequential, 1},
		"over the end of 16 bits":      {drawn(65533, 65534, 65535, 0, 1, 2), PortsSequential, 1},
		"in a block":                   {drawn(50000, 50400, 50133, 50311, 50027, 50250, 50199, 50077), PortsBlock, 0},
		"anywhere":                     {drawn(2000, 65000, 30000, 44444, 5017), PortsRandom, 0},
	} {
		got := portsOf(tt.samples)
		if got.Model != tt.want || got.Delta != tt.delta || got.Samples != len(tt.samples) || got.Confidence < 0 || got.Confidence > 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestPortRange: the estimate of a block holds its ports, and is not much wider than it.
func TestPortRange(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 1))
	for _, size := range []int{64, 512, 2048, 4096} {
		var sum float64
		for range 200 {
			low := 1024 + r.IntN(60000-size)
			var ports []int
			for range 13 {
				ports = append(ports, low+r.IntN(size))
			}
			p := portsOf(drawn(ports...))
			if p.Model == PortsSequential {
				continue // chance
			}
			if p.Model != PortsBlock || int(p.Low) > slices.Min(ports) || int(p.High) < slices.Max(ports) {
				t.Fatalf("seed %d, block of %d from %d: %+v of %v", seed, size, low, p, ports)
			}
			sum += float64(int(p.High) - int(p.Low) + 1)
		}
		if mean := sum / 200; mean < 0.9*float64(size) || mean > 1.1*float64(size) {
			t.Errorf("blocks of %d are estimated as %.0f on average", size, mean)
		}
	}
}

// TestRandomPortRange: a few random ports tell nothing of the range, many do.
func TestRandomPortRange(t *testing.T) {
	if p := portsOf(drawn(20000, 46000, 30000, 38000)); p.Model != PortsRandom || p.Low > 1024 || p.High != 65535 {
		t.Errorf("four ports: %+v", p)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var ports []int
	for range 13 {
		ports = append(ports, 50001+r.IntN(15535))
	}
	if p := portsOf(drawn(ports...)); p.Model != PortsRandom || p.Low < 45000 {
		t.Errorf("13 ports from 50001 on: %+v", p)
	}
}

func TestPortParityAndContiguity(t *testing.T) {
	var s []portSample
	for i := range 10 {
		s = append(s, portSample{at: t0, order: i, local: uint16(40000 + i), mapped: uint16(2000 + i + 1000*(i/2)), clean: true})
	}
	if p := portsOf(s); p.Parity != Yes || p.Contiguous != Yes {
		t.Errorf("%+v", p)
	}
	if p := portsOf(s[:6]); p.Parity != VerdictUnknown {
		t.Errorf("six may keep their parity by chance: %+v", p)
	}
	s[5].mapped += 3
	s[1].mapped += 2
	if p := portsOf(s); p.Parity != No || p.Contiguous != No {
		t.Errorf("%+v", p)
	}
}

func TestPredict(t *testing.T) {
	if got := (Ports{Model: PortsPreserving}).Predict(4000, 5, 0, 10); !slices.Equal(got, []uint16{4000}) {
		t.Errorf("preserving: %v", got)
	}
	if got := (Ports{Model: PortsRandom, Low: 1024, High: 65535}).Predict(4000, 5, 0, 10); got != nil {
		t.Errorf("random: %v", got)
	}
	if got := (Ports{}).Predict(4000, 5, 0, 10); got != nil {
		t.Errorf("unknown: %v", got)
	}
	seq := Ports{Model: PortsSequential, Delta: 2}
	if got := seq.Predict(1, 5000, time.Second, 3); !slices.Equal(got, []uint16{5002, 5004, 5006}) {
		t.Errorf("sequential: %v", got)
	}
	seq.Rate = 10 // about ten others in the second
	if got := seq.Predict(1, 5000, time.Second, 5); len(got) != 5 || !slices.Contains(got, 5022) || slices.Contains(got, 5002) {
		t.Errorf("sequential with others: %v", got)
	}
	if got := (Ports{Model: PortsSequential, Delta: -1}).Predict(1, 2, 0, 5); !slices.Equal(got, []uint16{1}) {
		t.Errorf("at the end: %v", got)
	}
	block := Ports{Model: PortsBlock, Low: 5000, High: 5009}
	got := block.Predict(4000, 5, 0, 100)
	slices.Sort(got)
	if len(got) != 10 || got[0] != 5000 || got[9] != 5009 {
		t.Errorf("block: %v", got)
	}
	block.Parity = Yes
	if got := block.Predict(4001, 5, 0, 3); len(got) != 3 || got[0]%2 != 1 || got[1]%2 != 1 {
		t.Errorf("block with parity: %v", got)
	}
	if seq.Predict(1, 2, 0, 0) != nil || seq.Predict(1, 2, 0, -1) != nil {
		t.Error("none asked for")
	}
}
