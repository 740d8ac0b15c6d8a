package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/engine"
)

// ProjectionList are the projections of an event store.
type ProjectionList struct {
	Available   bool         `json:"available" doc:"false: the nodes were started without projections"`
	Why         string       `json:"why" doc:"when they are not available"`
	Fix         string       `json:"fix"`
	Projections []Projection `json:"projections" doc:"by name"`
}

// Projection is a program in the event store that is fed events and keeps a
// state, or writes events and links.
type Projection struct {
	Name             string   `json:"name"`
	System           bool     `json:"system" doc:"the event store's own, its name begins with $"`
	State            string   `json:"state" enum:"running,stopped,faulted,completed,changing"`
	Status           string   `json:"status" doc:"in the event store's own words"`
	Reason           string   `json:"reason" doc:"why it faulted"`
	Mode             string   `json:"mode"`
	Progress         *float64 `json:"progress" doc:"percent of what there is to read; null: not known"`
	Position         string   `json:"position"`
	Checkpoint       string   `json:"checkpoint" doc:"position of the last one"`
	CheckpointStatus string   `json:"checkpointStatus"`
	Processed        Int64    `json:"processed" doc:"events since it last started"`
	PerSecond        *float64 `json:"perSecond" doc:"events; null until it was looked at twice"`
	Buffered         Int64    `json:"buffered"`
	Partitions       int      `json:"partitions" doc:"in memory"`
	WritesInProgress int      `json:"writesInProgress"`
	ReadsInProgress  int      `json:"readsInProgress"`
	Version          Int64    `json:"version"`
	Epoch            Int64    `json:"epoch"`
}

// ProjectionDetail is one projection with its source.
type ProjectionDetail struct {
	Projection Projection `json:"projection"`
	Query      string     `json:"query"`
	QueryKnown bool       `json:"queryKnown" doc:"false: the source could not be read"`
	Emit       *bool      `json:"emit" doc:"it may write; null: not known"`
	Track      *bool      `json:"track" doc:"what it writes to is noted; null: not known"`
	Partitions []string   `json:"partitions" doc:"some of those there are"`
}

// ProjectionState is the state of a projection, or of one of its partitions.
type ProjectionState struct {
	Name      string     `json:"name"`
	Partition string     `json:"partition"`
	State     *EventText `json:"state" doc:"null: there is none"`
	Result    *EventText `json:"result" doc:"null: there is none"`
}

// TransformSchema documents which references may be null.
func (ProjectionState) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "state", "result")
}

// ProjectionRequest makes or changes one.
type ProjectionRequest struct {
	Name   string `json:"name" minLength:"1" maxLength:"256"`
	Mode   string `json:"mode,omitempty" enum:"continuous,transient" default:"continuous" doc:"transient: it reads what there is and is forgotten; decided once"`
	Query  string `json:"query" minLength:"1" maxLength:"262144" doc:"JavaScript"`
	Emit   bool   `json:"emit,omitempty" doc:"it may write events and links"`
	Track  bool   `json:"track,omitempty" doc:"note what it writes to, so that it can be deleted with it; decided once"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// ProjectionCommand does something with one.
type ProjectionCommand struct {
	Name      string `json:"name" minLength:"1" maxLength:"256"`
	Command   string `json:"command" enum:"enable,disable,abort,reset"`
	TypedName string `json:"typedName,omitempty" maxLength:"256" doc:"needed to reset"`
	Reason    string `json:"reason,omitempty" maxLength:"1000"`
}

// ProjectionDeletion deletes one.
type ProjectionDeletion struct {
	Name       string `json:"name" minLength:"1" maxLength:"256"`
	TypedName  string `json:"typedName" maxLength:"256"`
	Emitted    bool   `json:"emitted,omitempty" doc:"delete what it wrote to, where that was noted"`
	State      bool   `json:"state,omitempty" doc:"delete the stream of its state"`
	Checkpoint bool   `json:"checkpoint,omitempty" doc:"delete the stream of its checkpoints"`
	Reason     string `json:"reason,omitempty" maxLength:"1000"`
}

type (
	projectionInput struct {
		ID   string `path:"id" maxLength:"63"`
		Name string `query:"name" required:"true" minLength:"1" maxLength:"256"`
	}
	projectionStateInput struct {
		ID        string `path:"id" maxLength:"63"`
		Name      string `query:"name" required:"true" minLength:"1" maxLength:"256"`
		Partition string `query:"partition" maxLength:"512" doc:"missing: the state of all"`
	}
)

func (s *Server) projectionRoutes() {
	add(s, "projections", "GET", "/clusters/{id}/projections", "Projections of an event store", s.getProjections)
	add(s, "projection", "GET", "/clusters/{id}/projections/info", "One projection with its source", s.getProjection)
	add(s, "projection-state", "GET", "/clusters/{id}/projections/state", "State and result of a projection, or of one partition", s.getProjectionState)
	add(s, "create-projection", "POST", "/clusters/{id}/projections", "Make a projection", s.postProjection)
	add(s, "update-projection", "PUT", "/clusters/{id}/projections", "Change a projection's source", s.putProjection)
	add(s, "command-projection", "POST", "/clusters/{id}/projections/command", "Enable, disable, abort or reset a projection", s.postProjectionCommand)
	add(s, "delete-projection", "POST", "/clusters/{id}/projections/delete", "Delete a projection", s.postProjectionDelete)
}

func projection(p *engine.ProjectionInfo) Projection {
	v := Projection{Name: p.Name, System: strings.HasPrefix(p.Name, "$"), State: projectionState(p.Status), Status: p.Status, Reason: p.Reason, Mode: p.Mode, Position: p.Position,
		Checkpoint: p.Checkpoint, CheckpointStatus: p.CheckpointStatus, Processed: Int64(p.Processed), Buffered: Int64(p.Buffered), Partitions: p.Partitions,
		WritesInProgress: p.Writes, ReadsInProgress: p.Reads, Version: Int64(p.Version), Epoch: Int64(p.Epoch)}
	if p.Progress >= 0 {
		v.Progress = ptr(p.Progress)
	}
	if p.PerSecond >= 0 {
		v.PerSecond = ptr(p.PerSecond)
	}
	return v
}

// projectionState is what an event store's words about a projection come to.
func projectionState(status string) string {
	word := strings.ToLower(status)
	switch {
	case strings.Contains(word, "faulted"):
		return "faulted"
	case strings.HasPrefix(word, "running"):
		return "running"
	case strings.HasPrefix(word, "completed"):
		return "completed"
	case strings.HasPrefix(word, "stopped"), strings.HasPrefix(word, "aborted"), strings.HasPrefix(word, "disabled"):
		return "stopped"
	}
	return "changing"
}

// withoutProjections says that an event store runs without them.
func withoutProjections(p *Problem) *Problem {
	return &Problem{Title: "This node was started without projections", Status: 409, Code: CodeNotOffered, Detail: p.Detail,
		Fix: "start the nodes with --run-projections=All (custom ones too) or --run-projections=System (only the store's own)"}
}

// askProjection has the event store do something with projections.
func (s *Server) askProjection(ctx context.Context, cluster, action string, args map[string]string) (map[string]string, error) {
	v, err := s.askStream(ctx, cluster, action, args)
	var p *Problem
	if errors.As(err, &p) && p.Code == CodeNotOffered {
		return nil, withoutProjections(p)
	}
	return v, err
}

func (s *Server) getProjections(ctx context.Context, in *clusterInput) (*body[ProjectionList], error) {
	out := ProjectionList{Available: true, Projections: []Projection{}}
	v, err := s.askProjection(ctx, in.ID, engine.ListProjections, nil)
	var p *Problem
	if errors.As(err, &p) && p.Code == CodeNotOffered {
		out.Available, out.Why, out.Fix = false, p.Title, p.Fix
		return &body[ProjectionList]{out}, nil
	}
	var list []engine.ProjectionInfo
	if err == nil {
		err = json.Unmarshal([]byte(v["projections"]), &list)
	}
	if err != nil {
		return nil, s.problem(ctx, in.ID, err)
	}
	for i := range list {
		out.Projections = append(out.Projections, projection(&list[i]))
	}
	return &body[ProjectionList]{out}, nil
}

func (s *Server) projection(ctx context.Context, cluster, name string) (ProjectionDetail, error) {
	v, err := s.askProjection(ctx, cluster, engine.ReadProjection, map[string]string{"name": name})
	var d engine.ProjectionDetail
	if err == nil {
		err = json.Unmarshal([]byte(v["projection"]), &d)
	}
	if err != nil {
		return ProjectionDetail{}, s.problem(ctx, cluster, err)
	}
	out := ProjectionDetail{Projection: projection(&d.Info), Query: d.Query, QueryKnown: d.Known, Emit: d.Emit, Track: d.Track, Partitions: d.Partitions}
	if out.Partitions == nil {
		out.Partitions = []string{}
	}
	return out, nil
}

func (s *Server) getProjection(ctx context.Context, in *projectionInput) (*body[ProjectionDetail], error) {
	d, err := s.projection(ctx, in.ID, in.Name)
	if err != nil {
		return nil, err
	}
	return &body[ProjectionDetail]{d}, nil
}

func (s *Server) getProjectionState(ctx context.Context, in *projectionStateInput) (*body[ProjectionState], error) {
	if strings.HasPrefix(in.Name, "$") {
		if err := s.mayReadStream(ctx, in.Name); err != nil {
			return nil, err
		}
	}
	v, err := s.askProjection(ctx, in.ID, engine.ReadProjectionState, map[string]string{"name": in.Name, "partition": in.Partition})
	if err != nil {
		return nil, s.problem(ctx, in.ID, err)
	}
	out := ProjectionState{Name: in.Name, Partition: in.Partition}
	for name, into := range map[string]**EventText{"state": &out.State, "result": &out.Result} {
		if v[name] == "" {
			continue
		}
		var t EventText
		if err := json.Unmarshal([]byte(v[name]), &t); err != nil {
			return nil, s.problem(ctx, in.ID, fmt.Errorf("decode the %s of projection %s: %w", name, in.Name, err))
		}
		*into = &t
	}
	return &body[ProjectionState]{out}, nil
}

// projectionSpec is a request in the engine's words; changes of the store's own
// projections are refused where they would take them away.
func (r *ProjectionRequest) projectionSpec() (string, error) {
	if strings.TrimSpace(r.Name) != r.Name || strings.HasPrefix(r.Name, "$") {
		return "", &Problem{Title: "The name cannot be used", Status: 422, Code: CodeBadRequest, Detail: "names that begin with $ are the event store's own, and spaces around a name are lost", Fix: "choose another name"}
	}
	if r.Track && !r.Emit {
		return "", &Problem{Title: "Nothing would be noted", Status: 422, Code: CodeBadRequest, Detail: "a projection that may not write writes to nothing", Fix: "let it write, or do not note what it writes to"}
	}
	b, err := json.Marshal(engine.ProjectionSpec{Name: r.Name, Mode: r.Mode, Query: r.Query, Emit: r.Emit, Track: r.Track})
	return string(b), err
}

func (s *Server) postProjection(ctx context.Context, in *clusterBody[ProjectionRequest]) (*body[ProjectionDetail], error) {
	name := printable(in.Body.Name)
	spec, err := in.Body.projectionSpec()
	if err == nil {
		_, err = s.askProjection(ctx, in.ID, engine.CreateProjection, map[string]string{"projection": spec})
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", "tried to make projection "+name, err)
	}
	writes := "may not write"
	if in.Body.Emit {
		writes = "may write"
	}
	s.changedStore(ctx, in.ID, "projection", fmt.Sprintf("made %s projection %s, which %s", in.Body.Mode, name, writes), in.Body.Reason)
	return s.projectionAfterwards(ctx, in.ID, &in.Body)
}

func (s *Server) projectionAfterwards(ctx context.Context, cluster string, r *ProjectionRequest) (*body[ProjectionDetail], error) {
	d, err := s.projection(ctx, cluster, r.Name)
	if err != nil { // it is written; what it is now cannot be read yet
		d = ProjectionDetail{Projection: projection(&engine.ProjectionInfo{Name: r.Name, Mode: r.Mode, Progress: -1, PerSecond: -1}), Query: r.Query, QueryKnown: true, Emit: &r.Emit, Partitions: []string{}}
	}
	return &body[ProjectionDetail]{d}, nil
}

func (s *Server) putProjection(ctx context.Context, in *clusterBody[ProjectionRequest]) (*body[ProjectionDetail], error) {
	name := printable(in.Body.Name)
	in.Body.Track = false
	spec, err := in.Body.projectionSpec()
	if err == nil {
		_, err = s.askProjection(ctx, in.ID, engine.UpdateProjection, map[string]string{"projection": spec})
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", "tried to change projection "+name, err)
	}
	s.changedStore(ctx, in.ID, "projection", "changed the source of projection "+name, in.Body.Reason)
	return s.projectionAfterwards(ctx, in.ID, &in.Body)
}

// projectionWords are commands in the past tense, and what they mean.
var projectionWords = map[string][2]string{
	engine.ProjectionEnable:  {"enabled", "runs from its last checkpoint"},
	engine.ProjectionDisable: {"disabled", "stands still; a checkpoint is written"},
	engine.ProjectionAbort:   {"aborted", "stands still; what it did since its last checkpoint is done again when it is enabled"},
	engine.ProjectionReset:   {"reset", "begins anew with an empty state"},
}

func (s *Server) postProjectionCommand(ctx context.Context, in *clusterBody[ProjectionCommand]) (*body[Done], error) {
	name, words := printable(in.Body.Name), projectionWords[in.Body.Command]
	what := "tried to " + in.Body.Command + " projection " + name
	if in.Body.Command == engine.ProjectionReset && in.Body.TypedName != in.Body.Name {
		return nil, s.refuse(ctx, in.ID, "", what, wrongName("the projection's name"))
	}
	if _, err := s.askProjection(ctx, in.ID, engine.CommandProjection, map[string]string{"name": in.Body.Name, "command": in.Body.Command}); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	s.changedStore(ctx, in.ID, "projection", words[0]+" projection "+name, in.Body.Reason)
	return &body[Done]{Done{"Projection " + in.Body.Name + " " + words[1]}}, nil
}

func (s *Server) postProjectionDelete(ctx context.Context, in *clusterBody[ProjectionDeletion]) (*body[Done], error) {
	name := printable(in.Body.Name)
	what := "tried to delete projection " + name
	switch {
	case in.Body.TypedName != in.Body.Name:
		return nil, s.refuse(ctx, in.ID, "", what, wrongName("the projection's name"))
	case strings.HasPrefix(in.Body.Name, "$"):
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The projection is the system's", Status: 409, Code: CodeRefused, Detail: "projections whose names begin with $ stay", Fix: "disable it"})
	}
	if _, err := s.askProjection(ctx, in.ID, engine.DeleteProjection, map[string]string{"name": in.Body.Name, "emitted": strconv.FormatBool(in.Body.Emitted),
		"state": strconv.FormatBool(in.Body.State), "checkpoint": strconv.FormatBool(in.Body.Checkpoint)}); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	also := ""
	if in.Body.Emitted {
		also = ", with the streams it wrote to"
	}
	s.changedStore(ctx, in.ID, "projection", "deleted projection "+name+also, in.Body.Reason)
	return &body[Done]{Done{"Projection " + in.Body.Name + " is deleted" + also}}, nil
}
