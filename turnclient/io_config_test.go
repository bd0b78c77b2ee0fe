package turnclient

import (
	"context"
	"reflect"
	"testing"
	"time"
)

// TestConfigReachesMachine: the machine is told everything that it can be told, and what the Config says.
func TestConfigReachesMachine(t *testing.T) {
	cfg := Config{
		Servers: []string{"turn:turn.example.org"}, Credentials: Credentials{Username: "user"},
		FetchCredentials: func(context.Context, CredentialsRequest) (c Credentials, err error) { return c, nil },
		Family:           IPv6, Lifetime: time.Hour, Keepalive: time.Minute, MappingLifetime: time.Second, RTO: 2 * time.Second,
		ChannelAfter: 3, DontFragment: true, Mobility: true,
	}
	got := reflect.ValueOf(cfg.machine([]Endpoint{{Host: "turn.example.org"}}, usage{}))
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		if got.Field(i).IsZero() {
			t.Errorf("%s is not handed on", name)
		}
		from := reflect.ValueOf(cfg).FieldByName(name)
		if from.IsValid() && from.Type() == got.Field(i).Type() && !reflect.DeepEqual(from.Interface(), got.Field(i).Interface()) {
			t.Errorf("%s is %v, want %v", name, got.Field(i), from)
		}
	}
}
