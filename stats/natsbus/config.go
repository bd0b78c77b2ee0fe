package natsbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is what publishers, aggregators and readers must agree on.
type Config struct {
	// Conn is the connection to NATS, which is the caller's to close. It should reconnect
	// without end (nats.MaxReconnects(-1)). Needed.
	Conn *nats.Conn
	// Prefix begins the names of the stream, its subjects and buckets: letters, digits, '_'
	// and '-'. "": bradawl.
	Prefix string
	// Shards is how many parts the events are counted in, 1 to 256, the same for all who use
	// the prefix. 0: 4.
	Shards int
	// Replicas is on how many servers of a NATS cluster things are kept, 1 to 5, as whoever
	// comes first makes them. 0: 1.
	Replicas int
	// MaxAge is how long the stream keeps events, for aggregators that were away, as whoever
	// comes first makes it. 0: 24 hours.
	MaxAge time.Duration
}

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "natsbus: " + e.Field + ": " + e.Reason }

// What can end what this package does.
var (
	// ErrClosed says that the publisher or the aggregator was closed.
	ErrClosed = errors.New("natsbus: closed")
	// ErrReplaced says that another aggregator counts the shard.
	ErrReplaced = errors.New("natsbus: another aggregator counts this shard; end one of the two")
)

// dedupe is how long the stream knows the ID of an event that is published again.
const dedupe = 10 * time.Minute

func (cfg *Config) check() error {
	if cfg.Prefix == "" {
		cfg.Prefix = "bradawl"
	}
	if cfg.Shards == 0 {
		cfg.Shards = 4
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 24 * time.Hour
	}
	switch {
	case cfg.Conn == nil:
		return &ConfigError{"Conn", "is missing; give one of nats.Connect"}
	case cfg.Shards < 1 || cfg.Shards > 256:
		return &ConfigError{"Shards", fmt.Sprintf("%d is out of range; give 1 to 256", cfg.Shards)}
	case cfg.Replicas < 1 || cfg.Replicas > 5:
		return &ConfigError{"Replicas", fmt.Sprintf("%d is out of range; give 1 to 5", cfg.Replicas)}
	case cfg.MaxAge < time.Minute:
		return &ConfigError{"MaxAge", fmt.Sprintf("%v is too short; give a minute or more", cfg.MaxAge)}
	}
	for _, c := range []byte(cfg.Prefix) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return &ConfigError{"Prefix", fmt.Sprintf("%q has %q; give letters, digits, '_' and '-'", cfg.Prefix, c)}
		}
	}
	return nil
}

func (cfg *Config) stream() string           { return cfg.Prefix + "-events" }
func (cfg *Config) subject(shard int) string { return fmt.Sprintf("%s.events.%d", cfg.Prefix, shard) }
func (cfg *Config) bucket() string           { return cfg.Prefix + "-shards" }
func (cfg *Config) states() string           { return cfg.Prefix + "-states" }
func (cfg *Config) key(shard int) string     { return fmt.Sprintf("shard.%d", shard) }

// shardOf is where a session's events are counted.
func (cfg *Config) shardOf(session stats.ID) int {
	return int((binary.BigEndian.Uint64(session[:]) * 0x9e3779b97f4a7c15 >> 32) % uint64(cfg.Shards))
}

// store is what there is in NATS.
type store struct {
	js     jetstream.JetStream
	shards jetstream.KeyValue    // how far each shard is counted
	states jetstream.ObjectStore // the recorders' states
}

// open makes what is not there yet, by the Config; what is there stays as it is.
func (cfg *Config) open(ctx context.Context) (*store, error) {
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("natsbus: %w", err)
	}
	s := &store{js: js}
	if _, err = find(ctx, cfg.stream(), js.Stream, jetstream.ErrStreamNotFound, func(ctx context.Context) (jetstream.Stream, error) {
		return js.CreateStream(ctx, jetstream.StreamConfig{
			Name: cfg.stream(), Subjects: []string{cfg.Prefix + ".events.*"}, Storage: jetstream.FileStorage, Replicas: cfg.Replicas,
			MaxAge: cfg.MaxAge, Duplicates: min(dedupe, cfg.MaxAge), MaxMsgSize: stats.MaxEvent,
		})
	}); err != nil {
		return nil, err
	}
	if s.shards, err = find(ctx, cfg.bucket(), js.KeyValue, jetstream.ErrBucketNotFound, func(ctx context.Context) (jetstream.KeyValue, error) {
		return js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: cfg.bucket(), Replicas: cfg.Replicas})
	}); err != nil {
		return nil, err
	}
	if s.states, err = find(ctx, cfg.states(), js.ObjectStore, jetstream.ErrBucketNotFound, func(ctx context.Context) (jetstream.ObjectStore, error) {
		return js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: cfg.states(), Replicas: cfg.Replicas})
	}); err != nil {
		return nil, err
	}
	return s, nil
}

// find returns what has a name, and makes it if there is none. Who makes it at the same time
// may be quicker.
func find[T any](ctx context.Context, name string, get func(context.Context, string) (T, error), none error, create func(context.Context) (T, error)) (T, error) {
	got, err := get(ctx, name)
	if errors.Is(err, none) {
		if got, err = create(ctx); err != nil {
			if again, missing := get(ctx, name); missing == nil {
				return again, nil
			}
		}
	}
	if err != nil {
		return got, fmt.Errorf("natsbus: opening %s: %w", name, err)
	}
	return got, nil
}
