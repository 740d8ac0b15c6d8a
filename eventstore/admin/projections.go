package admin

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"baton/eventstore/projection"
	"baton/eventstore/projections"
	"baton/eventstore/rpc"
)

// projectionServer is a gRPC server that has projections; *rpc.Server is one.
type projectionServer interface {
	Projections() *projections.Service
}

// maxProgramBytes bounds the body that holds a projection's program.
const maxProgramBytes = 2 << 20

// projections are the node's projections; nil when it runs none.
func (h *handler) projections() *projections.Service {
	if server, ok := h.Services.(projectionServer); ok {
		return server.Projections()
	}
	return nil
}

// projectionRoutes adds the routes by which tools and older clients manage projections.
func (h *handler) projectionRoutes(mux *http.ServeMux) {
	signedIn, operate := h.access.SignedIn, h.access.MayOperate
	only := func(m projections.Mode) projections.Which {
		return func(mode projections.Mode) bool { return mode == m }
	}
	list := func(which projections.Which) projectionRoute {
		return func(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
			return listProjections(w, r, s, which)
		}
	}
	for path, which := range map[string]projections.Which{
		"/projections": nil, "/projections/any": nil, "/projections/all-non-transient": func(m projections.Mode) bool { return m != projections.Transient },
		"/projections/transient": only(projections.Transient), "/projections/onetime": only(projections.OneTime), "/projections/continuous": only(projections.Continuous),
	} {
		mux.Handle("GET "+path, h.programs(signedIn, list(which)))
	}
	for path, mode := range map[string]projections.Mode{"transient": projections.Transient, "onetime": projections.OneTime, "continuous": projections.Continuous} {
		mux.Handle("POST /projections/"+path, h.programs(signedIn, func(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
			return createProjection(w, r, s, mode)
		}))
	}
	mux.Handle("POST /projections/restart", h.programs(operate, restartProjections))
	mux.Handle("GET /projection/{name}", h.programs(signedIn, projectionStatus))
	mux.Handle("DELETE /projection/{name}", h.programs(operate, deleteProjection))
	mux.Handle("GET /projection/{name}/statistics", h.programs(signedIn, projectionStatistics))
	mux.Handle("GET /projection/{name}/query", h.programs(signedIn, projectionQuery))
	mux.Handle("PUT /projection/{name}/query", h.programs(signedIn, updateProjection))
	mux.Handle("GET /projection/{name}/state", h.programs(signedIn, func(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
		return answerJSON(w)(s.State(r.Context(), r.PathValue("name"), r.URL.Query().Get("partition")))
	}))
	mux.Handle("GET /projection/{name}/result", h.programs(signedIn, func(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
		return answerJSON(w)(s.Result(r.Context(), r.PathValue("name"), r.URL.Query().Get("partition")))
	}))
	mux.Handle("GET /projection/{name}/config", h.programs(operate, projectionConfig))
	for _, method := range []string{"PUT", "POST"} {
		mux.Handle(method+" /projection/{name}/config", h.programs(operate, configureProjection))
	}
	mux.Handle("POST /projection/{name}/command/{command}", h.programs(signedIn, commandProjection))
}

// projectionRoute answers one request about projections, or returns why it cannot.
type projectionRoute func(w http.ResponseWriter, r *http.Request, s *projections.Service) error

func (h *handler) programs(check func(rpc.Caller) bool, route projectionRoute) http.Handler {
	return h.may(check, func(w http.ResponseWriter, r *http.Request) {
		s := h.projections()
		if s == nil {
			problem(w, problemDetails{Title: "No projections", Status: http.StatusNotFound, Code: "no-projections",
				Detail: "This node runs no projections.", Fix: "Start the nodes with --run-projections=System or All."})
			return
		}
		if err := route(w, r, s); err != nil {
			h.failProjection(w, r, err)
		}
	})
}

// failProjection answers an error of package projections.
func (h *handler) failProjection(w http.ResponseWriter, r *http.Request, err error) {
	var (
		missing *projections.NotFoundError
		exists  *projections.ExistsError
		state   *projections.StateError
		request *projections.RequestError
		fault   *projection.Fault
	)
	p := problemDetails{Detail: err.Error()}
	switch {
	case errors.As(err, &missing):
		p.Title, p.Status, p.Code, p.Fix = "No such projection", http.StatusNotFound, "no-projection", "See GET /projections/any for those there are."
	case errors.As(err, &exists):
		p.Title, p.Status, p.Code, p.Fix = "The projection exists", http.StatusConflict, "projection-exists", "Change it with PUT /projection/NAME/query, or delete it first."
	case errors.As(err, &fault):
		p.Title, p.Status, p.Code, p.Fix = "The program is refused", http.StatusBadRequest, "bad-program", "Correct the program at the place named."
	case errors.As(err, &request):
		p.Title, p.Status, p.Code, p.Fix = "The request cannot be carried out", http.StatusBadRequest, "bad-request", "Correct the request."
	case errors.As(err, &state):
		p.Title, p.Status, p.Code, p.Fix = "Not in this state", http.StatusConflict, "projection-state", "See GET /projection/NAME for the state it is in."
	case errors.Is(err, projections.ErrLoading):
		p.Title, p.Status, p.Code, p.Fix, p.Retry = "Not ready", http.StatusServiceUnavailable, "loading", "Try again in a moment.", true
	default:
		h.fail(w, r, err)
		return
	}
	problem(w, p)
}

// projectionInfo is a projection in JSON, with the names tools know.
type projectionInfo struct {
	Name             string  `json:"name"`
	EffectiveName    string  `json:"effectiveName"`
	Mode             string  `json:"mode"`
	Status           string  `json:"status"`
	StateReason      string  `json:"stateReason"`
	Enabled          bool    `json:"enabled"`
	System           bool    `json:"system"`
	Version          int64   `json:"version"`
	Epoch            int64   `json:"epoch"`
	Position         string  `json:"position"`
	LastCheckpoint   string  `json:"lastCheckpoint"`
	Progress         float64 `json:"progress"` // percent
	Handled          int64   `json:"eventsProcessedAfterRestart"`
	BufferedEvents   int64   `json:"bufferedEvents"`
	PendingBefore    int     `json:"writePendingEventsBeforeCheckpoint"`
	PendingAfter     int     `json:"writePendingEventsAfterCheckpoint"`
	WritesInProgress int     `json:"writesInProgress"`
	ReadsInProgress  int     `json:"readsInProgress"`
	PartitionsCached int     `json:"partitionsCached"`
	StateBytes       int     `json:"stateBytes"`
	CoreProcessingMs int64   `json:"coreProcessingTime"`
	CheckpointStatus string  `json:"checkpointStatus"`
	LagBytes         uint64  `json:"lagBytes"`
	StatusURL        string  `json:"statusUrl"`
	StateURL         string  `json:"stateUrl"`
	ResultURL        string  `json:"resultUrl"`
	QueryURL         string  `json:"queryUrl"`
}

func projectionJSON(r *projections.Report) projectionInfo {
	path := "/projection/" + r.Name
	return projectionInfo{
		Name: r.Name, EffectiveName: r.Name, Mode: string(r.Mode), Status: string(r.Status), StateReason: r.Reason, Enabled: r.Enabled, System: r.System,
		Version: r.Version, Epoch: r.Epoch, Position: r.Position, LastCheckpoint: r.Checkpoint, Progress: r.Progress, Handled: r.Handled,
		BufferedEvents: r.Buffered, PendingBefore: r.PendingWrites, PendingAfter: r.Writing, WritesInProgress: min(r.Writing, 1),
		PartitionsCached: r.Partitions, StateBytes: r.StateBytes, CoreProcessingMs: r.Spent.Milliseconds(), LagBytes: r.LagBytes,
		StatusURL: path, StateURL: path + "/state", ResultURL: path + "/result", QueryURL: path + "/query",
	}
}

type projectionList struct {
	Projections []projectionInfo `json:"projections"`
}

func listProjections(w http.ResponseWriter, r *http.Request, s *projections.Service, which projections.Which) error {
	reports, err := s.List(r.Context(), which)
	if err != nil {
		return err
	}
	out := projectionList{Projections: []projectionInfo{}}
	for i := range reports {
		out.Projections = append(out.Projections, projectionJSON(&reports[i]))
	}
	answer(w, out)
	return nil
}

func projectionStatus(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	report, err := s.Statistics(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	answer(w, projectionJSON(&report))
	return nil
}

func projectionStatistics(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	report, err := s.Statistics(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	answer(w, projectionList{Projections: []projectionInfo{projectionJSON(&report)}})
	return nil
}

// programOf reads a body that is a program.
func programOf(w http.ResponseWriter, r *http.Request) (string, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxProgramBytes))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err != nil {
		return "", &projections.RequestError{Reason: "the program cannot be read, or is too large: " + err.Error()}
	}
	return string(text), nil
}

// flag is a parameter that is "yes" or "true", or not; nil when it is not given.
func flag(r *http.Request, names ...string) (*bool, error) {
	for _, name := range names {
		switch text := r.URL.Query().Get(name); text {
		case "":
		case "yes", "on":
			on := true
			return &on, nil
		case "no", "off":
			return new(bool), nil
		default:
			on, err := strconv.ParseBool(text)
			if err != nil {
				return nil, &projections.RequestError{Reason: "the parameter " + name + " must be true or false"}
			}
			return &on, nil
		}
	}
	return nil, nil
}

func isSet(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

func createProjection(w http.ResponseWriter, r *http.Request, s *projections.Service, mode projections.Mode) error {
	emit, err := flag(r, "emit")
	track, err2 := flag(r, "trackemittedstreams", "trackEmittedStreams")
	enabled, err3 := flag(r, "enabled")
	if err := errors.Join(err, err2, err3); err != nil {
		return &projections.RequestError{Reason: err.Error()}
	}
	engine := 0
	if text := r.URL.Query().Get("engineversion"); text != "" {
		if engine, err = strconv.Atoi(text); err != nil {
			return &projections.RequestError{Reason: "the parameter engineversion must be a number"}
		}
	}
	query, err := programOf(w, r)
	if err != nil {
		return err
	}
	name, err := s.Create(r.Context(), projections.Wanted{Name: r.URL.Query().Get("name"), Mode: mode, Query: query, EngineVersion: engine,
		Config: projections.Config{EmitEnabled: isSet(emit, false), TrackEmittedStreams: isSet(track, false)}, Disabled: !isSet(enabled, true)}, rpc.CallerOf(r.Context()).Name)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/projection/"+name)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	encode(w, map[string]string{"name": name})
	return nil
}

func updateProjection(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	emit, err := flag(r, "emit")
	if err != nil {
		return err
	}
	query, err := programOf(w, r)
	if err != nil {
		return err
	}
	if err := s.Update(r.Context(), r.PathValue("name"), query, emit, rpc.CallerOf(r.Context()).Name); err != nil {
		return err
	}
	return updated(w, r)
}

// updated answers a change that was made.
func updated(w http.ResponseWriter, r *http.Request) error {
	answer(w, map[string]string{"name": r.PathValue("name"), "result": "Success"})
	return nil
}

func deleteProjection(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	emitted, err := flag(r, "deleteEmittedStreams")
	state, err2 := flag(r, "deleteStateStream")
	checkpoint, err3 := flag(r, "deleteCheckpointStream")
	if err := errors.Join(err, err2, err3); err != nil {
		return &projections.RequestError{Reason: err.Error()}
	}
	d := projections.Deletion{EmittedStreams: isSet(emitted, false), StateStream: isSet(state, false), CheckpointStream: isSet(checkpoint, false)}
	if err := s.Delete(r.Context(), r.PathValue("name"), d, rpc.CallerOf(r.Context()).Name); err != nil {
		return err
	}
	return updated(w, r)
}

// projectionQuery answers the program, or with ?config=yes the program with what else the projection is.
func projectionQuery(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	config, err := flag(r, "config")
	if err != nil {
		return err
	}
	d, err := s.Definition(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if !isSet(config, false) {
		w.Header().Set("Content-Type", "application/javascript; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, d.Query) // the client has gone, if this fails
		return nil
	}
	answer(w, map[string]any{"name": d.Name, "query": d.Query, "type": d.HandlerType, "mode": d.Mode, "enabled": d.Enabled, "emitEnabled": d.Config.EmitEnabled,
		"trackEmittedStreams": d.Config.TrackEmittedStreams, "runAs": d.RunAs, "updated": d.Updated, "updatedBy": d.UpdatedBy})
	return nil
}

// answerJSON answers text that is JSON; none is an empty object.
func answerJSON(w http.ResponseWriter) func([]byte, error) error {
	return func(text []byte, err error) error {
		if err != nil {
			return err
		}
		if len(text) == 0 {
			text = []byte("{}")
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(text) // the client has gone, if this fails
		return nil
	}
}

func projectionConfig(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	d, err := s.Definition(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	answer(w, d.Config)
	return nil
}

func configureProjection(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	d, err := s.Definition(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	c := d.Config // what the body leaves out stays
	if !decode(w, r, &c) {
		return nil
	}
	if err := s.Configure(r.Context(), r.PathValue("name"), c, rpc.CallerOf(r.Context()).Name); err != nil {
		return err
	}
	return updated(w, r)
}

func commandProjection(w http.ResponseWriter, r *http.Request, s *projections.Service) (err error) {
	name, by := r.PathValue("name"), rpc.CallerOf(r.Context()).Name
	switch r.PathValue("command") {
	case "enable":
		err = s.Enable(r.Context(), name, by)
	case "disable":
		err = s.Disable(r.Context(), name, true, by)
	case "abort":
		err = s.Disable(r.Context(), name, false, by)
	case "reset":
		err = s.Reset(r.Context(), name, by)
	default:
		return &projections.RequestError{Reason: "there is no such command: enable, disable, abort or reset"}
	}
	if err != nil {
		return err
	}
	return updated(w, r)
}

func restartProjections(w http.ResponseWriter, r *http.Request, s *projections.Service) error {
	if err := s.Restart(r.Context()); err != nil {
		return err
	}
	answer(w, map[string]string{"result": "Success"})
	return nil
}
