package delta

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// form is how values of one type are compared, written and read. v in apply
// holds the value before and is ours to overwrite, but nothing it points to is.
type form interface {
	// differ writes what makes now of old; where nothing does, it writes nothing
	// and changed is false.
	differ(b []byte, old, now reflect.Value) (out []byte, changed bool)
	// whole writes now as the difference to the type's zero value; always
	// something.
	whole(b []byte, now reflect.Value) []byte
	apply(r *reader, v reflect.Value) error
}

// maxItems bounds a list.
const maxItems = 1 << 16

var (
	forms    sync.Map // reflect.Type -> form
	timeType = reflect.TypeFor[time.Time]()
)

// formOf is the form of a type. It panics for a type that has none: types are
// fixed when a program is written.
func formOf(t reflect.Type) form {
	if f, ok := forms.Load(t); ok {
		return f.(form)
	}
	f, _ := forms.LoadOrStore(t, makeForm(t))
	return f.(form)
}

func makeForm(t reflect.Type) form {
	if t == timeType {
		return timeForm{}
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float64, reflect.Float32,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return scalarForm{t.Kind()}
	case reflect.Struct:
		return makeStruct(t)
	case reflect.Pointer:
		if k := t.Elem().Kind(); k != reflect.Pointer && k != reflect.Slice && k != reflect.Map {
			return &pointerForm{t.Elem(), formOf(t.Elem())}
		}
	case reflect.Slice:
		return &listForm{t, formOf(t.Elem())}
	case reflect.Map:
		if k := t.Elem().Kind(); t.Key().Kind() == reflect.String && k != reflect.Pointer && k != reflect.Slice && k != reflect.Map {
			return &mapForm{t, formOf(t.Elem())}
		}
	}
	panic(fmt.Sprintf("delta: no form for %s", t))
}

type structForm struct {
	zero   reflect.Value
	fields []field
	byName map[string]*field
}

type field struct {
	name  string
	index int
	form  form
}

func makeStruct(t reflect.Type) form {
	s := &structForm{zero: reflect.Zero(t), byName: map[string]*field{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if f.Anonymous {
			panic(fmt.Sprintf("delta: %s has the embedded field %s", t, f.Name))
		}
		if name == "" {
			name = f.Name
		}
		s.fields = append(s.fields, field{name, i, formOf(f.Type)})
	}
	for i := range s.fields {
		s.byName[s.fields[i].name] = &s.fields[i]
	}
	return s
}

func (s *structForm) differ(b []byte, old, now reflect.Value) ([]byte, bool) {
	at, n := len(b), 0
	b = append(b, kindMap<<5)
	for i := range s.fields {
		f, before, changed := &s.fields[i], len(b), false
		b = appendText(b, f.name)
		if b, changed = f.form.differ(b, old.Field(f.index), now.Field(f.index)); changed {
			n++
		} else {
			b = b[:before]
		}
	}
	if n == 0 {
		return b[:at], false
	}
	return count(b, at, n), true
}

func (s *structForm) whole(b []byte, now reflect.Value) []byte {
	b, changed := s.differ(b, s.zero, now)
	if !changed {
		b = append(b, kindMap<<5)
	}
	return b
}

func (s *structForm) apply(r *reader, v reflect.Value) error {
	n, err := r.want(kindMap)
	if err != nil {
		return err
	}
	for range n {
		name, err := r.text()
		if err != nil {
			return err
		}
		f := s.byName[string(name)]
		if f == nil {
			err = r.skip(0)
		} else {
			err = f.form.apply(r, v.Field(f.index))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type pointerForm struct {
	elem reflect.Type
	form form
}

func (p *pointerForm) differ(b []byte, old, now reflect.Value) ([]byte, bool) {
	switch {
	case now.IsNil():
		if old.IsNil() {
			return b, false
		}
		return append(b, null), true
	case old.IsNil():
		return p.form.whole(b, now.Elem()), true
	}
	return p.form.differ(b, old.Elem(), now.Elem())
}

func (p *pointerForm) whole(b []byte, now reflect.Value) []byte {
	if now.IsNil() {
		return append(b, null)
	}
	return p.form.whole(b, now.Elem())
}

func (p *pointerForm) apply(r *reader, v reflect.Value) error {
	if r.null() {
		v.SetZero()
		return nil
	}
	next := reflect.New(p.elem)
	if !v.IsNil() {
		next.Elem().Set(v.Elem())
	}
	if err := p.form.apply(r, next.Elem()); err != nil {
		return err
	}
	v.Set(next)
	return nil
}

type listForm struct {
	list reflect.Type
	form form
}

func (l *listForm) differ(b []byte, old, now reflect.Value) ([]byte, bool) {
	if now.Len() != old.Len() || now.IsNil() != old.IsNil() {
		return l.whole(b, now), true
	}
	at, n := len(b), 0
	b = append(b, kindMap<<5)
	for i := range now.Len() {
		before, changed := len(b), false
		b = appendHead(b, kindUint, uint64(i))
		if b, changed = l.form.differ(b, old.Index(i), now.Index(i)); changed {
			n++
		} else {
			b = b[:before]
		}
	}
	if n == 0 {
		return b[:at], false
	}
	return count(b, at, n), true
}

func (l *listForm) whole(b []byte, now reflect.Value) []byte {
	if now.IsNil() {
		return append(b, null)
	}
	b = appendHead(b, kindArray, uint64(now.Len()))
	for i := range now.Len() {
		b = l.form.whole(b, now.Index(i))
	}
	return b
}

func (l *listForm) apply(r *reader, v reflect.Value) error {
	if r.null() {
		v.SetZero()
		return nil
	}
	kind, n, err := r.head()
	switch {
	case err != nil:
		return err
	case kind == kindArray && n > min(maxItems, uint64(len(r.b))): // each takes a byte or more
		return fmt.Errorf("a list of %d", n)
	case kind == kindArray:
		next := reflect.MakeSlice(l.list, int(n), int(n))
		for i := range int(n) {
			if err := l.form.apply(r, next.Index(i)); err != nil {
				return err
			}
		}
		v.Set(next)
		return nil
	case kind != kindMap:
		return fmt.Errorf("kind %d for a list", kind)
	}
	next := reflect.MakeSlice(l.list, v.Len(), v.Len())
	reflect.Copy(next, v)
	for range n {
		i, err := r.want(kindUint)
		if err != nil {
			return err
		}
		if i >= uint64(next.Len()) {
			return fmt.Errorf("place %d of %d", i, next.Len())
		}
		if err := l.form.apply(r, next.Index(int(i))); err != nil {
			return err
		}
	}
	v.Set(next)
	return nil
}

type mapForm struct {
	typ  reflect.Type
	form form
}

func (m *mapForm) differ(b []byte, old, now reflect.Value) ([]byte, bool) {
	if now.IsNil() || old.IsNil() {
		if now.IsNil() && old.IsNil() {
			return b, false
		}
		return m.whole(b, now), true
	}
	at, n := len(b), 0
	b = append(b, kindMap<<5)
	for _, k := range keys(now) {
		before, changed := len(b), true
		b = appendText(b, k.String())
		if was := old.MapIndex(k); was.IsValid() {
			b, changed = m.form.differ(b, was, now.MapIndex(k))
		} else {
			b = m.form.whole(b, now.MapIndex(k))
		}
		if changed {
			n++
		} else {
			b = b[:before]
		}
	}
	for _, k := range keys(old) {
		if !now.MapIndex(k).IsValid() {
			n, b = n+1, append(appendText(b, k.String()), null)
		}
	}
	if n == 0 {
		return b[:at], false
	}
	return count(b, at, n), true
}

func (m *mapForm) whole(b []byte, now reflect.Value) []byte {
	if now.IsNil() {
		return append(b, null)
	}
	b = appendHead(b, kindMap, uint64(now.Len()))
	for _, k := range keys(now) {
		b = m.form.whole(appendText(b, k.String()), now.MapIndex(k))
	}
	return b
}

// keys are a map's keys in order: the same difference has the same bytes.
func keys(m reflect.Value) []reflect.Value {
	all := m.MapKeys()
	slices.SortFunc(all, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func (m *mapForm) apply(r *reader, v reflect.Value) error {
	if r.null() {
		v.SetZero()
		return nil
	}
	n, err := r.want(kindMap)
	if err != nil {
		return err
	}
	if texts, ok := v.Addr().Interface().(*map[string]string); ok {
		return applyTexts(r, texts, n)
	}
	next := reflect.MakeMapWithSize(m.typ, v.Len())
	for all := v.MapRange(); all.Next(); {
		next.SetMapIndex(all.Key(), all.Value())
	}
	elem := reflect.New(m.typ.Elem()).Elem()
	for range n {
		name, err := r.text()
		if err != nil {
			return err
		}
		key := reflect.ValueOf(string(name)).Convert(m.typ.Key())
		if r.null() {
			next.SetMapIndex(key, reflect.Value{})
			continue
		}
		elem.SetZero()
		if was := next.MapIndex(key); was.IsValid() {
			elem.Set(was)
		}
		if err := m.form.apply(r, elem); err != nil {
			return err
		}
		next.SetMapIndex(key, elem)
	}
	v.Set(next)
	return nil
}

// applyTexts is apply for the commonest map, without reflection.
func applyTexts(r *reader, m *map[string]string, n uint64) error {
	next := maps.Clone(*m)
	if next == nil {
		next = map[string]string{}
	}
	for range n {
		key, err := r.text()
		if err != nil {
			return err
		}
		if r.null() {
			delete(next, string(key))
			continue
		}
		value, err := r.text()
		if err != nil {
			return err
		}
		next[string(key)] = string(value)
	}
	*m = next
	return nil
}

type timeForm struct{}

func (timeForm) differ(b []byte, old, now reflect.Value) ([]byte, bool) {
	if timeOf(old).Equal(timeOf(now)) {
		return b, false
	}
	return timeForm{}.whole(b, now), true
}

func (timeForm) whole(b []byte, now reflect.Value) []byte {
	t := timeOf(now)
	if y := t.UTC().Year(); y < 1678 || y > 2261 {
		return appendText(b, t.Format(time.RFC3339Nano))
	}
	return appendInt(b, t.UnixNano())
}

func (timeForm) apply(r *reader, v reflect.Value) error {
	into := v.Addr().Interface().(*time.Time)
	if k := r.kind(); k == kindUint || k == kindNegative {
		n, err := r.int()
		if err != nil {
			return err
		}
		*into = time.Unix(0, n).UTC()
		return nil
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return err
	}
	*into = t
	return nil
}

func timeOf(v reflect.Value) time.Time {
	if v.CanAddr() {
		return *v.Addr().Interface().(*time.Time)
	}
	return v.Interface().(time.Time)
}

type scalarForm struct{ kind reflect.Kind }

func (s scalarForm) differ(b []byte, old, now reflect.Value) ([]byte, bool) {
	var same bool
	switch s.kind {
	case reflect.Bool:
		same = old.Bool() == now.Bool()
	case reflect.String:
		same = old.String() == now.String()
	case reflect.Float64, reflect.Float32:
		same = math.Float64bits(old.Float()) == math.Float64bits(now.Float())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		same = old.Uint() == now.Uint()
	default:
		same = old.Int() == now.Int()
	}
	if same {
		return b, false
	}
	return s.whole(b, now), true
}

func (s scalarForm) whole(b []byte, now reflect.Value) []byte {
	switch s.kind {
	case reflect.Bool:
		if now.Bool() {
			return append(b, yes)
		}
		return append(b, no)
	case reflect.String:
		return appendText(b, now.String())
	case reflect.Float64, reflect.Float32:
		return appendFloat(b, now.Float())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return appendHead(b, kindUint, now.Uint())
	}
	return appendInt(b, now.Int())
}

func (s scalarForm) apply(r *reader, v reflect.Value) error {
	switch s.kind {
	case reflect.Bool:
		x, err := r.bool()
		v.SetBool(x)
		return err
	case reflect.String:
		x, err := r.text()
		if err == nil && string(x) != v.String() {
			v.SetString(string(x))
		}
		return err
	case reflect.Float64, reflect.Float32:
		x, err := r.float()
		v.SetFloat(x)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		x, err := r.want(kindUint)
		if err == nil && v.OverflowUint(x) {
			return fmt.Errorf("%d for a number of %d bits", x, v.Type().Bits())
		}
		v.SetUint(x)
		return err
	}
	x, err := r.int()
	if err == nil && v.OverflowInt(x) {
		return fmt.Errorf("%d for a number of %d bits", x, v.Type().Bits())
	}
	v.SetInt(x)
	return err
}
