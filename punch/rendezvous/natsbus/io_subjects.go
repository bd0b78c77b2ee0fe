package natsbus

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bradawl/bradawl/internal/ident"
)

// subjects are the names that a bus uses at NATS.
type subjects struct {
	prefix string
	inbox  string // of this bus alone; replies come to it, with the request's number
}

func (s subjects) store() string              { return strings.ReplaceAll(s.prefix, ".", "_") + "_store" }
func (s subjects) signOns() string            { return strings.ReplaceAll(s.prefix, ".", "_") + "_signons" }
func (s subjects) storeSubjects() string      { return s.prefix + ".store.>" }
func (s subjects) signOnSubject() string      { return s.prefix + ".signon" }
func (s subjects) key(key string) string      { return s.prefix + ".store." + key }
func (s subjects) node(n nodeID) string       { return s.prefix + ".node." + n.String() }
func (s subjects) peer(p ident.PeerID) string { return s.prefix + ".peer." + p.String() }

// message turns an effect into what is published for it. Those of the store are
// JetStream's: its API's direct get, and its publish with an expectation.
func (s subjects) message(e effect) *nats.Msg {
	m := &nats.Msg{Data: e.data, Header: nats.Header{}}
	if e.id != 0 {
		m.Reply = s.inbox + "." + strconv.FormatUint(e.id, 10)
	}
	switch e.op {
	case opAnswer:
		m.Subject = e.reply
	case opAskNode:
		m.Subject = s.node(e.node)
	case opAskPeer:
		m.Subject = s.peer(e.peer)
	case opSignOn:
		m.Subject = s.signOnSubject()
		m.Header.Set(jetstream.MsgIDHeader, messageID(e.node, e.number))
		m.Header.Set(jetstream.ExpectedStreamHeader, s.signOns())
	case opGet:
		m.Subject = "$JS.API.DIRECT.GET." + s.store() + "." + s.key(e.key)
	case opPut:
		m.Subject = s.key(e.key)
		m.Header.Set(jetstream.ExpectedStreamHeader, s.store())
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(e.expect, 10))
		m.Header.Set(jetstream.MsgTTLHeader, strconv.Itoa(int(e.ttl/time.Second)))
	}
	return m
}

// request is the number of the request that m answers; false if it is no reply.
func (s subjects) request(m *nats.Msg) (id uint64, ok bool) {
	text, ok := strings.CutPrefix(m.Subject, s.inbox+".")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(text, 10, 64)
	return id, err == nil
}

// The errors of JetStream that say that an expectation was wrong: with and without
// the present revision in its text.
const (
	errWrongSequence         = 10071
	errWrongSequenceConstant = 10164
)

// readReply makes of m the reply to an effect.
func readReply(op effectOp, m *nats.Msg) reply {
	switch status := m.Header.Get("Status"); {
	case status == "503":
		return reply{status: replyNobody}
	case status == "404" && op == opGet:
		return reply{status: replyNone}
	case status != "":
		return reply{status: replyUnknown}
	}
	switch op {
	case opGet:
		revision, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return reply{status: replyUnknown}
		}
		return reply{status: replyOK, revision: revision, data: m.Data}
	case opPut, opSignOn:
		var ack struct {
			Sequence uint64 `json:"seq"`
			Error    *struct {
				Code int `json:"err_code"`
			} `json:"error"`
		}
		err := json.Unmarshal(m.Data, &ack)
		switch {
		case err != nil:
			return reply{status: replyUnknown}
		case ack.Error != nil && (ack.Error.Code == errWrongSequence || ack.Error.Code == errWrongSequenceConstant):
			return reply{status: replyConflict}
		case ack.Error != nil || ack.Sequence == 0:
			return reply{status: replyUnknown}
		}
		return reply{status: replyOK, revision: ack.Sequence}
	}
	return reply{status: replyOK, data: m.Data}
}
