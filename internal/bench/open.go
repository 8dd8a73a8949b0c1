package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/internal/bench/plot"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/follower"
	"example.com/curfew/token/grpcbearer"
)

// openConnections measures how long after its answer a revocation has ended the last
// of many open streams: server-sent events, WebSockets and gRPC streams in equal
// parts, at services on two followers of two nodes. Both ends of every stream are in
// this process, and share two processors with the nodes.
func (b *bench) openConnections() (err error) {
	dsn, err := b.database("open")
	if err != nil {
		return err
	}
	var nodes [2]*node
	for i := range nodes {
		if nodes[i], err = b.startNode(dsn); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, nodes[i].close()) }()
	}
	c, err := nodes[0].client("streams", "follow", "issue")
	if err != nil {
		return err
	}
	var services [2]*service3
	for i, n := range nodes {
		f, err := open(n.address, c.ID, c.Secret)
		if err != nil {
			return err
		}
		if services[i], err = startService3(f); err != nil {
			return errors.Join(err, f.Close())
		}
		defer func() { err = errors.Join(err, services[i].close()) }()
	}
	rows, lines := [][]string{}, map[string]*plot.Line{}
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	for _, size := range []int{100, 1000, 10_000} {
		if b.quick && size > 1000 {
			continue
		}
		for _, what := range []struct {
			name   string
			users  int // that are revoked; 0 for everyone
			rounds int
			most   float64
		}{{"one user", 1, 30, 10}, {"a tenth of the users", size / 20, 5, 0}, {"everyone", 0, 3, 50}} {
			b.say("  %d streams, %s", size, what.name)
			ends := &ends{}
			for _, n := range nodes { // the last case may have revoked the administrator
				if err := n.signIn(); err != nil {
					return err
				}
			}
			s, err := openStreams(nodes[0], basic(c), services[:], size)
			if err != nil {
				return err
			}
			for round := range b.of(what.rounds, 3) {
				b.calm()
				err := s.revoke(nodes[round%2], what.users, ends)
				if err == nil && what.users == 0 {
					err = errors.Join(nodes[0].signIn(), nodes[1].signIn())
				}
				if err != nil {
					return errors.Join(err, s.close())
				}
				if err := s.fill(); err != nil {
					return errors.Join(err, s.close())
				}
			}
			idle := 0.0
			if what.users == 0 {
				if idle, err = s.idle(); err != nil {
					return err
				}
			}
			if err := s.close(); err != nil {
				return err
			}
			p99 := ms(ends.answered.Quantile(0.99))
			rows = append(rows, []string{
				fmt.Sprint(size), what.name, fmt.Sprint(ends.count), number(100 * float64(ends.early) / float64(ends.count)), number(p99), number(ms(ends.answered.Max())),
				number(ms(ends.called.Quantile(0.5))), number(ms(ends.called.Quantile(0.99))), number(ms(ends.called.Max())),
			})
			if lines[what.name] == nil {
				lines[what.name] = &plot.Line{Name: what.name + ", p99"}
			}
			lines[what.name].Points = append(lines[what.name].Points, plot.Point{X: float64(size), Y: ms(ends.called.Quantile(0.99))})
			if size == 10_000 && what.most > 0 {
				b.report.atMost(fmt.Sprintf("effective everywhere → the last of 10 000 open streams has ended (%s, two nodes, p99)", what.name), what.most, " ms", single(p99))
			}
			if size == 10_000 && what.users == 0 {
				b.report.atMost("processor time of 10 000 idle watched streams, a second", 2, " ms", single(idle))
			}
		}
	}
	b.report.table("Open connections", "Times in ms until the client has seen the end of its stream, from the answer that says effective everywhere (zero for a stream that ended before it) and from the call. "+
		"The handlers' contexts have ended before the answer; the figures are how long the streams take to close. "+
		"Streams are server-sent events, WebSockets and gRPC streams in equal parts, two for each user, at services on two followers of two PostgreSQL nodes; their clients are in the same process.",
		[]string{"open streams", "revoked", "streams ended", "before the answer, %", "from the answer, p99", "longest", "from the call, median", "p99", "longest"}, rows...)
	chart := plot.Chart{Title: "From the call that revokes to the end of the streams", X: "open streams", Y: "ms"}
	for _, name := range []string{"one user", "a tenth of the users", "everyone"} {
		chart.Lines = append(chart.Lines, *lines[name])
	}
	b.report.plot("streams.svg", chart)
	return nil
}

// service3 serves streams of three kinds on a follower.
type service3 struct {
	follower *follower.Follower
	web      *http.Server
	rpc      *grpc.Server
	address  string
	channel  *grpc.ClientConn
	done     sync.WaitGroup
}

var streamDescription = grpc.ServiceDesc{
	ServiceName: "bench.Streams", HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Wait", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		if err := stream.SendMsg(wrapperspb.String("open")); err != nil {
			return err
		}
		return stream.RecvMsg(new(wrapperspb.StringValue)) // until the session ends
	}}},
}

func startService3(f *follower.Follower) (*service3, error) {
	s := &service3{follower: f}
	mux := http.NewServeMux()
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: open\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) { // an upgraded connection; no frames are needed
		raw, _ := bearer.FromRequest(r)
		live, stop := bearer.Watch(context.Background(), f.Validator(), raw)
		defer stop()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		context.AfterFunc(live, func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nopen\n")
		_, _ = io.Copy(io.Discard, conn)
	})
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, web.Close())
	}
	s.address = web.Addr().String()
	s.web = &http.Server{Handler: bearer.Require(f.Validator())(mux)} // #nosec G112 -- loopback
	guard := grpcbearer.Interceptor{Validator: f.Validator()}
	s.rpc = grpc.NewServer(grpc.StreamInterceptor(guard.Stream))
	s.rpc.RegisterService(&streamDescription, nil)
	s.done.Go(func() { _ = s.web.Serve(web) }) // ends with close
	s.done.Go(func() { _ = s.rpc.Serve(rpc) }) // ends with close
	s.channel, err = grpc.NewClient(rpc.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	return s, err
}

func (s *service3) close() error {
	err := errors.Join(s.channel.Close(), s.web.Close())
	s.rpc.Stop()
	s.done.Wait()
	return errors.Join(err, s.follower.Close())
}

// openStreams are streams of which every user has two.
type streams struct {
	node          *node
	authorization string
	services      []*service3
	open          []*stream
}

// stream is one stream; ended is closed when its client has seen the end.
type stream struct {
	user  int
	ended chan struct{}
	at    time.Time // when it ended
	close func()
}

func openStreams(n *node, authorization string, services []*service3, count int) (*streams, error) {
	s := &streams{node: n, authorization: authorization, services: services, open: make([]*stream, count)}
	return s, s.fill()
}

// fill opens the streams that are not open.
func (s *streams) fill() error {
	return inParallel(len(s.open)/2, func(user int) error {
		var raw string
		for i := 2 * user; i < 2*user+2; i++ {
			if s.open[i] != nil {
				continue
			}
			if raw == "" {
				var issued wire.Issued
				if err := s.node.call(http.MethodPost, "/v1/users/"+peers.User(user)+"/sessions", s.authorization, wire.Issue{}, &issued); err != nil {
					return err
				}
				raw = issued.Token
			}
			one, err := s.services[i%2].open(i%3, raw)
			if err != nil {
				return err
			}
			one.user = user
			s.open[i] = one
		}
		return nil
	})
}

// open opens one stream of a kind, and returns when its first message has come.
func (s *service3) open(kind int, raw string) (*stream, error) {
	one := &stream{ended: make(chan struct{})}
	if kind == 2 {
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+raw))
		client, err := s.channel.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/bench.Streams/Wait")
		if err == nil {
			err = client.RecvMsg(new(wrapperspb.StringValue))
		}
		if err != nil {
			cancel()
			return nil, err
		}
		one.close = cancel
		go func() { // ends with the stream
			err := client.RecvMsg(new(wrapperspb.StringValue))
			one.at = time.Now()
			if grpcbearer.ReasonOf(err) == token.ErrRevoked {
				close(one.ended)
			}
			cancel()
		}()
		return one, nil
	}
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	one.close = func() { _ = conn.Close() }
	path := [...]string{"/events", "/socket"}[kind]
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, raw); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	in := bufio.NewReaderSize(conn, 512)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		if line == "open\n" || line == "data: open\n" {
			break
		}
	}
	go func() { // ends with the stream
		if _, err := io.Copy(io.Discard, in); err == nil {
			one.at = time.Now()
			close(one.ended)
		}
		_ = conn.Close()
	}()
	return one, nil
}

// ends are the times at which streams ended.
type ends struct {
	count, early     int               // early: before the answer
	answered, called measure.Histogram // from the answer, and from the call
}

func (e *ends) add(at, called, answered time.Time) {
	e.count++
	if !at.After(answered) {
		e.early++
	}
	e.answered.Add(max(0, at.Sub(answered)))
	e.called.Add(at.Sub(called))
}

// revoke revokes the first users, or everyone for 0, at a node, waits until their
// streams have ended, and adds the times to ends.
func (s *streams) revoke(n *node, users int, ends *ends) error {
	path, body := "/v1/revocations", any(wire.RevokeMany{Scope: "everyone", Reason: "bench"})
	switch {
	case users == 1:
		path, body = "/v1/users/"+peers.User(0)+"/revocations", wire.RevokeUser{Reason: "bench"}
	case users > 1:
		ids := make([]string, users)
		for i := range ids {
			ids[i] = peers.User(i)
		}
		body = wire.RevokeMany{Scope: "users", Users: ids, Reason: "bench"}
	}
	var receipt wire.Receipt
	called := time.Now()
	err := n.call(http.MethodPost, path, n.admin, body, &receipt, "Prefer", "wait=30")
	answered := time.Now()
	if err != nil {
		return err
	}
	if !receipt.Enforcement.EffectiveEverywhere {
		return errors.New("the receipt does not say effective everywhere")
	}
	for i, one := range s.open {
		if users > 0 && one.user >= users {
			select {
			case <-one.ended:
				return fmt.Errorf("a stream of %s ended, who was not revoked", peers.User(one.user))
			default:
				continue
			}
		}
		select {
		case <-one.ended:
		case <-time.After(time.Minute):
			return fmt.Errorf("a stream of %s goes on a minute after it was revoked everywhere", peers.User(one.user))
		}
		ends.add(one.at, called, answered)
		s.open[i] = nil
	}
	return nil
}

// idle returns the processor time in ms that this process takes in a second while
// nothing happens.
func (s *streams) idle() (float64, error) {
	before, err := ownTime()
	if err != nil {
		return 0, err
	}
	const span = 5 * time.Second
	time.Sleep(span)
	after, err := ownTime()
	return float64(after-before) / 1e6 / span.Seconds(), err
}

func (s *streams) close() error {
	for _, one := range s.open {
		if one != nil {
			one.close()
		}
	}
	return nil
}
