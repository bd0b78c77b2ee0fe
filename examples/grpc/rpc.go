package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
)

// dial returns a gRPC client of the peer. It connects when the first call is made, and again
// when a connection was lost. Credentials are left out because the session has proven the peer
// and seals what is sent.
func dial(s *bradawl.Session, id bradawl.PeerID) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+id.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, target string) (net.Conn, error) {
			id, err := bradawl.ParsePeerID(target)
			if err != nil {
				return nil, err
			}
			return quicpeer.Dial(ctx, s, id)
		}))
}

// newServer returns a gRPC server that serves whom may says, call by call. Register services
// with it, then give it a quicpeer.Listen of the session to serve.
func newServer(may func(caller bradawl.PeerID, method string) bool) *grpc.Server {
	check := func(ctx context.Context, method string) error {
		id, err := caller(ctx)
		if err == nil && !may(id, method) {
			err = status.Errorf(codes.PermissionDenied, "%s may not call %s", id.Short(), method)
		}
		return err
	}
	return grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := check(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return handle(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if err := check(stream.Context(), info.FullMethod); err != nil {
				return err
			}
			return handle(srv, stream)
		}))
}

// caller is who makes a call, for a handler. It is proven.
func caller(ctx context.Context) (bradawl.PeerID, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(bradawl.Addr); ok {
			return a.Peer, nil
		}
	}
	return bradawl.PeerID{}, status.Error(codes.Unauthenticated, "the call did not come from a peer")
}
