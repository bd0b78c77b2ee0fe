package ice

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

// steady is five round trips of the same length.
func steady(ms float64) (s RTTSamples) {
	for range samplesKept {
		s.Add(time.Duration(ms * float64(time.Millisecond)))
	}
	return s
}

// The weights, and what each term's extremes make of the score.
func TestScoreWeights(t *testing.T) {
	best := InterfaceInfo{Kind: Wired, Speed: 1e9}
	worst := InterfaceInfo{Down: true}
	for _, c := range []struct {
		weights       Weights
		inter         InterfaceInfo
		rtt           RTTSamples
		history, want float64
	}{
		{Weights{}, best, steady(20), 1, 1},
		{Weights{}, best, steady(10000), 0, 0.4 + 0.25*0.01},
		{Weights{}, worst, steady(20), 0, 0.25},
		{Weights{}, worst, steady(10000), 1, 0.25*0.01 + 0.35},
		{Weights{}, best, steady(199), 0.8, 0.4 + 0.25*0.5 + 0.35*0.8},
		{Weights{0.4, 0.25, 0.35}, best, steady(199), 0.8, 0.4 + 0.25*0.5 + 0.35*0.8},
		{Weights{40, 25, 35}, best, steady(199), 0.8, 0.4 + 0.25*0.5 + 0.35*0.8},
		{Weights{RTT: -1}, best, steady(199), 0.8, (0.4 + 0.35*0.8) / 0.75},
		{Weights{Interface: -1, History: math.Inf(-1)}, worst, steady(199), 1, 0.5},
		{Weights{1, 1, 1}, best, steady(199), 0, 0.5},
		{Weights{RTT: math.NaN()}, best, steady(199), 0.8, 0.4 + 0.25*0.5 + 0.35*0.8},
		{Weights{math.MaxFloat64, math.MaxFloat64, math.Inf(1)}, best, steady(199), 0, 0.5},
		{Weights{-1, -1, -1}, best, steady(1), 1, Neutral},
	} {
		e := ScoreConfig{Weights: c.weights}.Score(Inputs{c.inter, c.rtt, Known(c.history)})
		if !near(e.Score, c.want) {
			t.Errorf("%+v: %v, want %v", c.weights, e, c.want)
		}
	}
}

// The term of the round-trip time in both forms.
func TestScoreRTT(t *testing.T) {
	for _, c := range []struct{ ms, want, literal float64 }{
		{0, 1, 1},
		{1, 1, 0.5},
		{9, 1, 0.1},
		{49, 1, 0.02},
		{99, 1, 0.01},
		{199, 0.5, 0.005},
		{399, 0.25, 0.0025},
		{999, 0.1, 0.001},
		{9999, 0.01, 0.0001},
		{60000, 0.01, 0.0001},
	} {
		if got := steady(c.ms).Quality(); !near(got, c.want) {
			t.Errorf("%v ms: %v, want %v", c.ms, got, c.want)
		}
		e := ScoreConfig{LiteralRTT: true}.Score(Inputs{RTT: steady(c.ms)})
		if !near(e.RTT.Value, c.literal) {
			t.Errorf("%v ms, literally: %v, want %v", c.ms, e.RTT.Value, c.literal)
		}
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		samples RTTSamples
		median  time.Duration
		want    float64
	}{
		{nil, 0, Neutral},
		{RTTSamples{}, 0, Neutral},
		{RTTSamples{199 * ms}, 199 * ms, 0.5},
		{RTTSamples{20 * ms, 40 * ms}, 30 * ms, 1 / (1 + 10.0/30)},
		{RTTSamples{40 * ms, 50 * ms, 60 * ms}, 50 * ms, 1 / (1 + math.Sqrt(200.0/3)/50)},
		{RTTSamples{10 * ms, 10 * ms, 10 * ms, 10 * ms, 1000 * ms}, 10 * ms, 1 / (1 + 396.0/10)},
		{RTTSamples{500 * ms, 10 * ms, 10 * ms, 10 * ms, 10 * ms, 10 * ms}, 10 * ms, 1}, // the first is one too many
		{RTTSamples{-5 * ms, 0}, 0, 1},
		{RTTSamples{0, ms}, ms / 2, 1 / 1.5}, // the deviation is half a millisecond, beside one
	} {
		// A deviation is in whole nanoseconds.
		if got := c.samples.Quality(); math.Abs(got-c.want) > 1e-6 || c.samples.Median() != c.median {
			t.Errorf("%v: %v with median %v, want %v with %v", c.samples, got, c.samples.Median(), c.want, c.median)
		}
	}
	if e := (ScoreConfig{LiteralRTT: true}).Score(Inputs{}); e.RTT.Value != Neutral || e.RTT.Known {
		t.Errorf("%+v", e.RTT)
	}
}

func TestRTTSamplesKeepFive(t *testing.T) {
	var s, fork RTTSamples
	for i := range 12 {
		s.Add(time.Duration(i))
		fork = s // one copy goes its own way from here
		fork.Add(99)
		other := s
		other.Add(77)
		if last := fork[len(fork)-1]; last != 99 {
			t.Errorf("another copy's sample %v is in this one", last)
		}
	}
	if got := fmt.Sprint(s, fork); got != "[7ns 8ns 9ns 10ns 11ns] [8ns 9ns 10ns 11ns 99ns]" {
		t.Error(got)
	}
}

func TestInterfaceQuality(t *testing.T) {
	const neutralSpeed = 0.5 + 2.0/6
	for _, c := range []struct {
		info  InterfaceInfo
		want  float64
		known bool
	}{
		{InterfaceInfo{}, Neutral, false},
		{InterfaceInfo{Name: "eth0", Network: "x"}, Neutral, false},
		{InterfaceInfo{Kind: 99}, Neutral, false},
		{InterfaceInfo{Signal: Known(1)}, Neutral, false}, // no radio that we know of
		{InterfaceInfo{Kind: Wired}, neutralSpeed, true},
		{InterfaceInfo{Kind: WiFi}, 0.8 * neutralSpeed * 0.75, true},
		{InterfaceInfo{Kind: Cellular}, 0.6 * neutralSpeed * 0.75, true},
		{InterfaceInfo{Kind: VPN}, 0.5 * neutralSpeed, true},
		{InterfaceInfo{Kind: Virtual}, 0.4 * neutralSpeed, true},

		{InterfaceInfo{Kind: Wired, Speed: 1}, 0.5, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e6}, 0.5, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e7}, 0.5 + 1.0/6, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e8}, neutralSpeed, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9}, 1, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e11}, 1, true},
		{InterfaceInfo{Kind: Wired, Speed: -1}, neutralSpeed, true},
		{InterfaceInfo{Kind: Wired, Speed: math.NaN()}, neutralSpeed, true},
		{InterfaceInfo{Kind: Wired, Speed: math.Inf(1)}, 1, true},

		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Known(0)}, 1, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Known(0.05)}, 0.5, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Known(0.15)}, 0.25, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Known(1)}, 1.0 / 21, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Known(7)}, 1.0 / 21, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Known(math.NaN())}, 1, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Loss: Reading{Value: 1}}, 1, true},

		{InterfaceInfo{Kind: WiFi, Speed: 1e9, Signal: Known(1)}, 0.8, true},
		{InterfaceInfo{Kind: WiFi, Speed: 1e9, Signal: Known(0)}, 0.4, true},
		{InterfaceInfo{Kind: Cellular, Speed: 1e9, Signal: Known(0.5)}, 0.45, true},
		{InterfaceInfo{Kind: Wired, Speed: 1e9, Signal: Known(0)}, 1, true},

		{InterfaceInfo{Kind: Wired, Speed: 1e9, Down: true}, 0, true},
		{InterfaceInfo{Down: true}, 0, true},
	} {
		e := ScoreConfig{}.Score(Inputs{Interface: c.info})
		if !near(e.Interface.Value, c.want) || e.Interface.Known != c.known {
			t.Errorf("%v: %v, want %v, known %v", c.info, e.Interface.Value, c.want, c.known)
		}
	}
	// Any wired interface of 100 Mbit/s is better than the best Wi-Fi, unless it loses packets.
	wired, wifi := InterfaceInfo{Kind: Wired, Speed: 1e8}, InterfaceInfo{Kind: WiFi, Speed: 1e10, Signal: Known(1)}
	if wired.Quality() <= wifi.Quality() {
		t.Errorf("%v is worse than %v", wired, wifi)
	}
	wired.Loss = Known(0.02)
	if wired.Quality() >= wifi.Quality() {
		t.Errorf("%v is better than %v", wired, wifi)
	}
}

// best returns the name of the interface with the highest local preference.
func best(c ScoreConfig, all ...Inputs) string {
	var p Preferences
	name, highest := "", -1
	for _, in := range all {
		v, _ := p.Take(c.Score(in).Score, netip.IPv4Unspecified())
		if int(v) > highest {
			name, highest = in.Interface.Name, int(v)
		}
	}
	return name
}

func TestScoreChoosesCleanWired(t *testing.T) {
	wired := Inputs{Interface: InterfaceInfo{Name: "eth0", Kind: Wired, Loss: Known(0)}, RTT: steady(30)}
	wifi := Inputs{Interface: InterfaceInfo{Name: "wlan0", Kind: WiFi, Loss: Known(0.08), Signal: Known(0.9)}, RTT: steady(25)}
	if got := best(ScoreConfig{}, wifi, wired); got != "eth0" {
		t.Errorf("%s, want the clean wired interface", got)
	}
	// Even where the Wi-Fi's round trips are the better ones and both networks are known to work.
	wired.RTT = steady(150)
	wired.History, wifi.History = Known(0.8), Known(0.9)
	if got := best(ScoreConfig{}, wifi, wired); got != "eth0" {
		t.Errorf("%s, want the clean wired interface", got)
	}
	// But it is the loss that counts and not the word: with the losses changed, the Wi-Fi wins.
	wired.Interface.Loss, wifi.Interface.Loss = Known(0.08), Known(0)
	if got := best(ScoreConfig{}, wifi, wired); got != "wlan0" {
		t.Errorf("%s, want the clean Wi-Fi", got)
	}
}

func TestExplanation(t *testing.T) {
	in := Inputs{
		Interface: InterfaceInfo{Name: "wlan0", Kind: WiFi, Speed: 300e6, Loss: Known(0.01), Signal: Known(0.6)},
		RTT:       RTTSamples{20 * time.Millisecond, 40 * time.Millisecond},
		History:   Known(0.75),
	}
	e := ScoreConfig{}.Score(in)
	sum := 0.0
	for _, term := range []Term{e.Interface, e.RTT, e.History} {
		if !term.Known || !near(term.Contribution, term.Weight*term.Value) {
			t.Errorf("%+v", term)
		}
		sum += term.Contribution
	}
	if !near(sum, e.Score) {
		t.Errorf("%v in all, want %v", sum, e.Score)
	}
	for _, c := range []struct {
		e    Explanation
		want string
	}{
		{e, "0.645 = interface 0.40 x 0.487 (wlan0 wifi x0.80, speed 300 Mbit/s x0.91, loss 1 % x0.83, signal 60 % x0.80)" +
			" + rtt 0.25 x 0.750 (median 30ms, deviation 10ms of 2) + history 0.35 x 0.750 (0.75)"},
		{ScoreConfig{}.Score(Inputs{}), "0.500 = interface 0.40 x 0.500 (unknown x0.60, speed unknown x0.83, loss unknown x1.00)" +
			" + rtt 0.25 x 0.500 (unknown) + history 0.35 x 0.500 (unknown)"},
		{ScoreConfig{LiteralRTT: true}.Score(Inputs{Interface: InterfaceInfo{Name: "eth0", Kind: Wired, Down: true}, RTT: steady(1)}),
			"0.300 = interface 0.40 x 0.000 (eth0 wired x1.00, speed unknown x0.83, loss unknown x1.00, down x0)" +
				" + rtt 0.25 x 0.500 (median 1ms, deviation 0s of 5, literal) + history 0.35 x 0.500 (unknown)"},
	} {
		if got := c.e.String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// Whatever comes in, a score is a number from 0 to 1, its terms add up, and a text explains it.
func FuzzScore(f *testing.F) {
	f.Add(uint64(1), 0.4, 0.25, 0.35, 1e9, 0.01, 0.7, 0.8, int64(20e6), int64(30e6))
	f.Add(uint64(2), math.NaN(), math.Inf(1), -1.0, math.Inf(-1), -3.0, math.NaN(), math.Inf(1), int64(math.MinInt64), int64(math.MaxInt64))
	f.Add(uint64(3), math.MaxFloat64, math.MaxFloat64, math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64, math.NaN(), 2.0, math.Copysign(0, -1), int64(0), int64(1))
	f.Fuzz(func(t *testing.T, bits uint64, wi, wr, wh, speed, loss, signal, history float64, rtt1, rtt2 int64) {
		c := ScoreConfig{Weights: Weights{wi, wr, wh}, LiteralRTT: bits&1 != 0}
		in := Inputs{
			Interface: InterfaceInfo{
				Kind: InterfaceKind(bits >> 8), Down: bits&2 != 0, Speed: speed,
				Loss: Reading{loss, bits&4 != 0}, Signal: Reading{signal, bits&8 != 0},
			},
			History: Reading{history, bits&16 != 0},
		}
		for range bits >> 5 & 7 {
			in.RTT = append(in.RTT, time.Duration(rtt1), time.Duration(rtt2))
		}
		e := c.Score(in)
		values := []float64{e.Score, e.Interface.Value, e.RTT.Value, e.History.Value, e.Interface.Weight, e.RTT.Weight, e.History.Weight}
		for _, v := range values {
			if !(v >= 0 && v <= 1) { // NaN is not
				t.Errorf("%v of %v in %+v", v, values, in)
			}
		}
		if sum := e.Interface.Contribution + e.RTT.Contribution + e.History.Contribution; sum != 0 && !near(sum, e.Score) {
			t.Errorf("%v, but the terms add up to %v", e, sum)
		}
		if s := e.String(); strings.Contains(s, "%!") {
			t.Error(s)
		}
	})
}

// More is better, of everything but loss and round trips.
func TestScoreIsMonotonous(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 15))
	for range 2000 {
		a := Inputs{
			Interface: InterfaceInfo{Kind: InterfaceKind(rng.IntN(6)), Speed: rng.ExpFloat64() * 1e8, Loss: Known(rng.Float64()), Signal: Known(rng.Float64())},
			RTT:       steady(rng.ExpFloat64() * 200),
			History:   Known(rng.Float64()),
		}
		b := a
		switch rng.IntN(5) {
		case 0:
			b.Interface.Speed *= 1 + rng.Float64()
		case 1:
			b.Interface.Loss.Value *= rng.Float64()
		case 2:
			b.Interface.Signal.Value += rng.Float64()
		case 3:
			b.RTT = steady(milliseconds(a.RTT.Median()) * rng.Float64())
		case 4:
			b.History.Value += rng.Float64()
		}
		c := ScoreConfig{LiteralRTT: rng.IntN(2) == 0}
		if low, high := c.Score(a), c.Score(b); low.Score > high.Score+1e-12 {
			t.Errorf("%v\nis more than\n%v", low, high)
		}
	}
}
