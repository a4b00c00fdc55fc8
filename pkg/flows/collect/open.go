package collect

import (
	"container/list"
	"sync"
	"time"

	"sallyport/pkg/flows"
)

// connection identifies one: the gateway gives it a random number, and a gateway of
// another group cannot speak of it.
type connection struct{ group, id string }

// openTable are the open connections, bounded by number and age.
type openTable struct {
	most int
	age  time.Duration
	now  func() time.Time

	mu    sync.Mutex
	byKey map[connection]*list.Element
	// order has an opened for each, oldest first.
	order     *list.List
	forgotten uint64
}

type opened struct {
	connection
	at   time.Time
	flow flows.Flow
}

func newOpenTable(most int, age time.Duration, now func() time.Time) *openTable {
	return &openTable{most: most, age: age, now: now, byKey: make(map[connection]*list.Element), order: list.New()}
}

func (t *openTable) add(key connection, f flows.Flow) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byKey[key]; e != nil {
		t.drop(e)
	}
	t.expire(now)
	for t.order.Len() >= t.most {
		t.drop(t.order.Front())
		t.forgotten++
	}
	t.byKey[key] = t.order.PushBack(&opened{key, now, f})
}

func (t *openTable) remove(key connection) (flows.Flow, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byKey[key]
	if e == nil {
		return flows.Flow{}, false
	}
	t.drop(e)
	return e.Value.(*opened).flow, true
}

// expire forgets what is too old; the caller holds mu.
func (t *openTable) expire(now time.Time) {
	for e := t.order.Front(); e != nil && now.Sub(e.Value.(*opened).at) > t.age; e = t.order.Front() {
		t.drop(e)
		t.forgotten++
	}
}

func (t *openTable) drop(e *list.Element) {
	delete(t.byKey, t.order.Remove(e).(*opened).connection)
}

func (t *openTable) all() []flows.Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.now())
	out := make([]flows.Flow, 0, t.order.Len())
	for e := t.order.Front(); e != nil; e = e.Next() {
		out = append(out, e.Value.(*opened).flow)
	}
	return out
}

// counts are how many are open, and were forgotten.
func (t *openTable) counts() (open int, forgotten uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.now())
	return t.order.Len(), t.forgotten
}
