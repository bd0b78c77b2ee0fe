package ice

import (
	"reflect"
	"testing"
	"time"
)

// The machine is told everything that it can be told, and what the Config says.
func TestMachineIsToldTheWholeConfig(t *testing.T) {
	cfg := Config{Keepalive: time.Minute, GatherTimeout: time.Second, Score: ScoreConfig{Weights: Weights{RTT: 1}}, History: &MemoryHistory{}, Loopback: true}
	got := reflect.ValueOf(cfg.machine())
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		if got.Field(i).IsZero() {
			t.Errorf("%s is not handed on", name)
		} else if from := reflect.ValueOf(cfg).FieldByName(name); !reflect.DeepEqual(from.Interface(), got.Field(i).Interface()) {
			t.Errorf("%s is %v, want %v", name, got.Field(i), from)
		}
	}
}
