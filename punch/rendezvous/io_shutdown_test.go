package rendezvous

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// health asks the server how it is.
func (sv *service) health() (status int, body map[string]any) {
	sv.t.Helper()
	w := httptest.NewRecorder()
	sv.server.ServeHealth(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		sv.t.Fatalf("%q: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		sv.t.Errorf("Content-Type %q", got)
	}
	return w.Code, body
}

// wantHealth checks the answer of the health endpoint.
func (sv *service) wantHealth(status int, says string, clients, halfOpen, rooms float64) {
	sv.t.Helper()
	got, body := sv.health()
	if got != status || body["status"] != says || body["clients"] != clients || body["half_open"] != halfOpen || body["rooms"] != rooms || len(body) != 4 {
		sv.t.Errorf("health %d %v, want %d %s and %v %v %v", got, body, status, says, clients, halfOpen, rooms)
	}
}

func TestShutdownInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{})
		sv.wantHealth(200, "ok", 0, 0, 0)
		idle := sv.dial(ClientConfig{})
		time.Sleep(pairQuiet)
		a, b := sv.dial(ClientConfig{}), sv.dial(ClientConfig{})
		_, raw := sv.open()
		synctest.Wait()
		if err := a.Join(ctx, "r", []byte("a")); err != nil {
			t.Fatal(err)
		}
		sv.wantHealth(200, "ok", 3, 1, 1)

		began := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- sv.server.Shutdown(ctx) }()
		synctest.Wait()
		raw.Close()
		var ce *CloseError
		if _, err := idle.Next(ctx); !errors.As(err, &ce) || ce.Code != CodeShutdown || ce.Reason != shutdownReason {
			t.Errorf("the idle client was told %v", err)
		}
		if _, err := Dial(ctx, testURL, sv.config()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("signing on during the drain: %v", err)
		}
		sv.wantHealth(503, "draining", 2, 0, 1)
		// The pair under way still comes about.
		if err := b.Join(ctx, "r", []byte("b")); err != nil {
			t.Fatal(err)
		}
		if p := recv[Paired](t, a); string(p.Message) != "b" {
			t.Errorf("a was paired: %+v", p)
		}
		if p := recv[Paired](t, b); string(p.Message) != "a" {
			t.Errorf("b was paired: %+v", p)
		}
		for _, c := range []*Client{a, b} {
			if _, err := c.Next(ctx); !errors.As(err, &ce) || ce.Code != CodeShutdown {
				// Or the other went first.
				if _, err = c.Next(ctx); !errors.As(err, &ce) || ce.Code != CodeShutdown {
					t.Errorf("a member was told %v", err)
				}
			}
		}
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if d := time.Since(began); d < pairQuiet || d > pairQuiet+closeGrace {
			t.Errorf("it took %v", d)
		}
		sv.wantHealth(503, "draining", 0, 0, 0)
		for _, c := range []*Client{a, b, idle} {
			c.Close()
		}
		sv.close()
	})
}

// Shutdown ends with its context, however its clients behave.
func TestShutdownHeedsItsContext(t *testing.T) {
	for _, test := range []struct {
		name string
		ctx  func() (context.Context, context.CancelFunc)
		min  time.Duration
		max  time.Duration
		want error // or nil
	}{
		{"a deadline", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 10*time.Second)
		}, 8 * time.Second, 10*time.Second + closeGrace, nil},
		{"cancelled on the way", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, time.Second, time.Second + closeGrace, context.Canceled},
		{"over from the start", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), -time.Second)
		}, 0, closeGrace, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sv := newService(t, ServerConfig{})
				a, b := sv.dial(ClientConfig{}), sv.dial(ClientConfig{})
				talked := make(chan struct{})
				go func() { // without end
					defer close(talked)
					for a.Send(context.Background(), b.ID(), []byte("x")) == nil {
						time.Sleep(500 * time.Millisecond)
						if _, err := b.Next(context.Background()); err != nil {
							return
						}
					}
				}()
				ctx, cancel := test.ctx()
				defer cancel()
				began := time.Now()
				err := sv.server.Shutdown(ctx)
				if !errors.Is(err, test.want) {
					t.Errorf("Shutdown: %v, want %v", err, test.want)
				}
				if d := time.Since(began); d < test.min || d > test.max {
					t.Errorf("it took %v, want %v to %v", d, test.min, test.max)
				}
				<-talked
				a.Close()
				b.Close()
				sv.close()
			})
		})
	}
}

// Whoever calls, and in whatever order, waits until everything has ended.
func TestShutdownAndCloseTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		a := sv.dial(ClientConfig{})
		if err := a.Join(context.Background(), "r", nil); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 3)
		for _, end := range []func() error{
			func() error { return sv.server.Shutdown(context.Background()) },
			func() error { return sv.server.Shutdown(context.Background()) },
			sv.server.Close,
		} {
			go func() { ended <- end() }()
			synctest.Wait()
		}
		for range 3 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		a.Close()
		sv.close()
	})
}
