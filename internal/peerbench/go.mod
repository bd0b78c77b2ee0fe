module github.com/bradawl/bradawl/internal/peerbench

go 1.26.0

require (
	github.com/bradawl/bradawl v0.0.0
	github.com/pion/ice/v2 v2.3.38
	github.com/pion/ice/v4 v4.4.9
	github.com/pion/logging v0.2.4
	github.com/pion/stun v0.6.1
	github.com/pion/stun/v4 v4.0.1
	github.com/pion/transport/v2 v2.2.10
	github.com/pion/transport/v5 v5.0.1
	github.com/pion/turn/v4 v4.1.4
)

require (
	github.com/flynn/noise v1.1.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/pion/dtls/v2 v2.2.7 // indirect
	github.com/pion/dtls/v3 v3.1.9 // indirect
	github.com/pion/mdns v0.0.12 // indirect
	github.com/pion/mdns/v2 v2.2.2 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/stun/v3 v3.1.7 // indirect
	github.com/pion/transport/v4 v4.1.0 // indirect
	github.com/pion/turn/v2 v2.1.3 // indirect
	github.com/pion/turn/v5 v5.1.2 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/wlynxg/anet v0.0.5 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.14.0 // indirect
)

replace github.com/bradawl/bradawl => ../..
