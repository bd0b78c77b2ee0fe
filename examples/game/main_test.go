package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// TestMatch plays for 20 s of virtual time, with a tenth of the packets lost on each link.
func TestMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-players", "4", "-loss", "0.1", "-time", "20s", "-json"}, &out, io.Discard); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		players, score, loss := 0, 0, 0.0
		for lines := json.NewDecoder(&out); lines.More(); players++ {
			var r row
			if err := lines.Decode(&r); err != nil {
				t.Fatal(err)
			}
			score, loss = score+r.Score, loss+r.Loss
			// Where the direct path loses much, a session may move to the relay.
			if r.Path == "" || r.Proto != "udp" || r.RTTus < 20_000 || r.LagUS < 20_000 || r.Loss < 0 || r.Loss > 0.4 {
				t.Errorf("%+v", r)
			}
		}
		if players != 4 || score < 3 || loss == 0 {
			t.Errorf("%d players, %d coins, %.3f lost", players, score, loss)
		}
	})
}

func TestScoreboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-players", "1", "-loss", "0", "-time", "2s"}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(out.String(), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[1], "player 1   port-restricted-cone") || !strings.Contains(lines[1], " 0.0 %") {
			t.Errorf("%s", &out)
		}
	})
}

func newArena() *arena { return &arena{rand: rand.New(rand.NewPCG(1, 2))} }

// TestInputs: the last one counts, in whatever order they come, and nobody cheats by one.
func TestInputs(t *testing.T) {
	a := newArena()
	id, _ := a.join()
	p := &a.players[id]
	p.x, p.y, a.coin = 20, 20, [2]int16{39, 39}
	a.take(id, inputBytes(5, 127, -128))
	a.take(id, inputBytes(4, -1, 1))
	a.take(id, inputBytes(5, -1, 1))
	a.take(id, []byte("nonsense"))
	a.take(id, nil)
	a.step()
	if p.x != 21 || p.y != 19 || p.input != 5 || p.late != 2 {
		t.Errorf("%+v, want it at 21, 19, by input 5, and two late", *p)
	}
	for range 100 {
		a.step()
	}
	if p.x != field-1 || p.y != 0 || p.score != 0 {
		t.Errorf("%+v, want it in the corner", *p)
	}
	a.coin = [2]int16{field - 1, 0}
	if a.step(); p.score != 1 || a.coin == [2]int16{field - 1, 0} {
		t.Errorf("%+v, and the coin at %v, want a point", *p, a.coin)
	}
}

func TestSnapshots(t *testing.T) {
	a := newArena()
	for range maxPlayers {
		if _, ok := a.join(); !ok {
			t.Fatal("there was room")
		}
	}
	if _, ok := a.join(); ok {
		t.Error("there was no room")
	}
	a.players[3] = player{score: 5, input: 77, gone: true}
	if id, ok := a.join(); !ok || id != 3 || a.players[3].score != 0 || a.players[3].input != 0 || a.players[3].gone {
		t.Errorf("%d, %v: %+v, want the number of who has left, and nothing else of it", id, ok, a.players[3])
	}
	a.step()
	a.take(7, inputBytes(9, 1, 0))
	b := a.snapshotBytes(7)
	s, ok := parseSnapshot(b)
	if !ok || s.tick != 1 || s.input != 9 || s.me != 7 || s.coin != a.coin || len(s.places) != maxPlayers || s.places[7] != [2]int16{a.players[7].x, a.players[7].y} {
		t.Errorf("%+v of %+v", s, a)
	}
	for n := range b {
		if s, ok := parseSnapshot(b[:n]); ok && s.me >= len(s.places) {
			t.Errorf("%d bytes: %+v", n, s)
		}
	}
	if _, ok := parseSnapshot(b[:snapshotHeader+4]); ok {
		t.Error("a snapshot without its own player was taken")
	}
}

// TestTally: what comes after a later one is late, and what does not come is lost.
func TestTally(t *testing.T) {
	var all tally
	var taken []uint32
	for _, tick := range []uint32{7, 8, 11, 10, 11, 12, 16} {
		if all.take(tick) {
			taken = append(taken, tick)
		}
	}
	if !slices.Equal(taken, []uint32{7, 8, 11, 12, 16}) || all.late != 2 || all.loss() != 0.5 {
		t.Errorf("%v, %d late, %v lost", taken, all.late, all.loss())
	}
	if none := (tally{}).loss(); none != 0 {
		t.Errorf("%v lost of nothing", none)
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-players 0": "1 to 32", "-players 33": "1 to 32", "-time 0": "1s to 1h", "-loss 0.6": "0 to 0.5", "-loss NaN": "0 to 0.5", "now": "not a flag", "-m": "not defined",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("game", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("game", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
