package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/audit"
	"baton/control/executor"
	"baton/control/operation"
	"baton/control/people"
	"baton/control/plan"
	"baton/control/schedule"
)

// Waiting is a promotion that waits for its time or for a second person.
type Waiting struct {
	ID          string     `json:"id"`
	Cluster     string     `json:"cluster"`
	Node        string     `json:"node"`
	State       string     `json:"state" enum:"awaiting-approval,scheduled,starting,started,refused,cancelled"`
	Requester   string     `json:"requester"`
	Reason      string     `json:"reason"`
	AskedAt     time.Time  `json:"askedAt"`
	At          *time.Time `json:"at" doc:"when it shall start; null: as soon as it is approved"`
	ExpiresAt   *time.Time `json:"expiresAt" doc:"when it is refused if nobody approves"`
	Approver    string     `json:"approver"`
	ReportHash  string     `json:"reportHash"`
	Report      *Report    `json:"report" doc:"what the requester saw"`
	Overrides   []string   `json:"overrides"`
	EndedAt     *time.Time `json:"endedAt"`
	Why         string     `json:"why"`
	OperationID *string    `json:"operationId"`
	MayApprove  bool       `json:"mayApprove" doc:"whether you may approve it"`
}

// TransformSchema documents which references may be null.
func (Waiting) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "report")
}

// WaitingList is what waits, then what has ended lately.
type WaitingList struct {
	Waiting []Waiting `json:"waiting"`
}

// Approvals is the answer of GET /approvals.
type Approvals struct {
	Approvals []Waiting `json:"approvals"`
}

// Schedules is the answer of GET /clusters/{id}/schedules.
type Schedules struct {
	Schedules []Waiting `json:"schedules"`
}

// ApprovalAnswer says why somebody approved or rejected.
type ApprovalAnswer struct {
	Note string `json:"note,omitempty" maxLength:"500"`
}

// CancelRequest ends an operation before its point of no return.
type CancelRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type (
	approvalInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body ApprovalAnswer
	}
	scheduleInput struct {
		ID       string `path:"id" maxLength:"63"`
		Schedule string `path:"schedule" maxLength:"63"`
	}
	cancelInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body CancelRequest
	}
)

func (s *Server) scheduleRoutes() {
	add(s, "schedules", "GET", "/clusters/{id}/schedules", "Promotions that wait for their time", s.getSchedules)
	add(s, "schedule-cancel", "DELETE", "/clusters/{id}/schedules/{schedule}", "Cancel a promotion that waits", s.deleteSchedule)
	add(s, "approvals", "GET", "/approvals", "Promotions that wait for a second person", s.getApprovals)
	add(s, "approve", "POST", "/approvals/{id}/approve", "Let a promotion go on that somebody else asked for", s.postApprove)
	add(s, "reject", "POST", "/approvals/{id}/reject", "Refuse a promotion that somebody else asked for", s.postReject)
	add(s, "operation-cancel", "POST", "/operations/{id}/cancel", "Have an operation taken back before its point of no return", s.postCancel)
}

func (s *Server) waitingView(ctx context.Context, i *schedule.Item) Waiting {
	p := who(ctx)
	w := Waiting{ID: i.ID, Cluster: i.Cluster, Node: i.Node, State: string(i.State), Requester: i.Who.Name, Reason: i.Reason, AskedAt: i.Asked, Approver: i.Approver,
		ReportHash: i.Report.Hash, Report: ptr(reportView(&i.Report)), Overrides: append([]string{}, i.Overrides...), Why: i.Why,
		MayApprove: i.State == schedule.AwaitingApproval && p.role.may(RoleApprover) && p.Name != i.Who.Name}
	for at, into := range map[*time.Time]**time.Time{&i.At: &w.At, &i.Expires: &w.ExpiresAt, &i.Ended: &w.EndedAt} {
		if !at.IsZero() {
			*into = ptr(*at)
		}
	}
	if i.Operation != "" {
		w.OperationID = ptr(i.Operation)
	}
	return w
}

// waiting lists what waits first, then what ended, newest first.
func (s *Server) waiting(ctx context.Context, cluster string, keep func(*schedule.Item) bool) []Waiting {
	out := []Waiting{}
	items := s.Waiting.Items(cluster)
	slices.Reverse(items)
	for _, ended := range []bool{false, true} {
		for i := range items {
			if keep(&items[i]) && !items[i].Ended.IsZero() == ended {
				out = append(out, s.waitingView(ctx, &items[i]))
			}
		}
	}
	return out
}

func (s *Server) getSchedules(ctx context.Context, in *clusterInput) (*body[Schedules], error) {
	if _, ok := s.Inventory.Cluster(in.ID); !ok {
		return nil, notFoundCluster(in.ID)
	}
	if s.Waiting == nil {
		return nil, missing("schedules")
	}
	return &body[Schedules]{Schedules{s.waiting(ctx, in.ID, func(i *schedule.Item) bool { return !i.At.IsZero() })}}, nil
}

func (s *Server) getApprovals(ctx context.Context, _ *none) (*body[Approvals], error) {
	if s.Waiting == nil {
		return nil, missing("approvals")
	}
	return &body[Approvals]{Approvals{s.waiting(ctx, "", func(i *schedule.Item) bool {
		return i.State == schedule.AwaitingApproval || i.Approver != "" || i.At.IsZero()
	})}}, nil
}

// beginPromotion begins a promotion, or has it wait for its time or, where the
// cluster's policy asks for it, for a second person. What waits was checked
// like what begins at once.
func (s *Server) beginPromotion(ctx context.Context, r executor.Request, at *time.Time) (PromotionAccepted, error) {
	c, known := s.Inventory.Cluster(r.Cluster)
	approval := known && c.Policy.Approval
	if at == nil && !approval {
		id, err := s.Executor.Promote(ctx, r)
		if err == nil {
			*who(ctx).recorded = true // the request is in the cluster's stream, its end will be audited
		}
		return PromotionAccepted{OperationID: id, State: "requested"}, err
	}
	if s.Waiting == nil {
		return PromotionAccepted{}, missing("schedules")
	}
	p, err := s.Executor.Check(r)
	if err != nil {
		return PromotionAccepted{}, err
	}
	if approval && !s.somebodyElse(r.Who.Name) {
		return PromotionAccepted{}, &Problem{Title: "Nobody could approve it", Status: 409, Code: CodeRefused,
			Detail: "this cluster's promotions take a second person, and nobody else who can sign in is approver or admin", Fix: "give somebody the role approver, or take approval out of the cluster's policy"}
	}
	ask := schedule.Request{Cluster: r.Cluster, Node: r.Node, Generation: p.Generation, Report: p.Report, Reason: r.Reason, Overrides: r.Overrides, UndoOf: r.UndoOf, Who: r.Who}
	if at != nil {
		ask.At = at.UTC()
	}
	item, err := s.Waiting.Add(ctx, ask, approval)
	switch {
	case errors.Is(err, schedule.ErrTime):
		return PromotionAccepted{}, &Problem{Title: "The time is not valid", Status: 422, Code: CodeBadRequest, Detail: err.Error(), Fix: "give a time to come, like 2026-01-31T02:00:00Z"}
	case errors.Is(err, schedule.ErrFull):
		return PromotionAccepted{}, &Problem{Title: "Too many promotions wait", Status: 409, Code: CodeRefused, Detail: err.Error(), Fix: "cancel some first"}
	case err != nil:
		return PromotionAccepted{}, err
	}
	out := PromotionAccepted{State: string(item.State), ScheduleID: item.ID}
	what := "scheduled the promotion of " + r.Node + " for " + item.At.UTC().Format("2006-01-02 15:04:05 UTC")
	if approval {
		out.ApprovalID, out.ScheduleID = item.ID, ""
		what = "asked for the promotion of " + r.Node + ", which a second person must approve"
	}
	s.record(ctx, audit.Record{Cluster: r.Cluster, Node: r.Node, What: what, Outcome: audit.Done, Detail: r.Reason, Kind: "schedule"})
	return out, nil
}

// somebodyElse tells whether a person other than the one named could approve.
func (s *Server) somebodyElse(name string) bool {
	if s.People == nil {
		return false
	}
	return slices.ContainsFunc(s.People.Users(), func(u people.User) bool {
		return u.Name != name && !u.Disabled && u.Password != "" && Role(u.Role).may(RoleApprover)
	})
}

// waitingProblem translates a refusal of package schedule and records it.
func (s *Server) waitingProblem(ctx context.Context, i *schedule.Item, what string, err error) error {
	p := &Problem{Title: "Not done", Status: 409, Code: CodeRefused, Detail: err.Error()}
	switch {
	case errors.Is(err, schedule.ErrUnknown):
		p.Title, p.Status, p.Code, p.Fix = "Nothing of this id waits", 404, CodeNotFound, "baton approve without an id lists what waits"
	case errors.Is(err, schedule.ErrSelf):
		p.Title, p.Status, p.Code, p.Fix = "It takes a second person", 403, CodeForbidden, "ask somebody else with the role approver"
	case errors.Is(err, schedule.ErrStarted):
		p.Title, p.Fix = "Too late", "cancel the operation it became"
	default:
		return s.internal(ctx, "change what waits", err)
	}
	rec := audit.Record{Cluster: i.Cluster, Node: i.Node, What: what, Outcome: audit.Refused, Detail: p.Title + ": " + p.Detail, Kind: "schedule"}
	if rec.Cluster == "" {
		rec.Cluster = audit.System
	}
	s.record(ctx, rec)
	return p
}

func (s *Server) deleteSchedule(ctx context.Context, in *scheduleInput) (*body[Waiting], error) {
	if s.Waiting == nil {
		return nil, missing("schedules")
	}
	i, ok := s.Waiting.Item(in.Schedule)
	what := "tried to cancel the waiting promotion " + printable(in.Schedule)
	if !ok || i.Cluster != in.ID {
		return nil, s.waitingProblem(ctx, &schedule.Item{}, what, schedule.ErrUnknown)
	}
	i, err := s.Waiting.Cancel(ctx, in.Schedule, "cancelled by "+who(ctx).Name, false)
	if err != nil {
		return nil, s.waitingProblem(ctx, &i, what, err)
	}
	s.record(ctx, audit.Record{Cluster: i.Cluster, Node: i.Node, What: "cancelled the promotion of " + i.Node + " that " + i.Who.Name + " had asked for", Outcome: audit.Cancelled, Kind: "schedule"})
	return &body[Waiting]{s.waitingView(ctx, &i)}, nil
}

func (s *Server) postApprove(ctx context.Context, in *approvalInput) (*status[Waiting], error) {
	if s.Waiting == nil {
		return nil, missing("approvals")
	}
	i, err := s.Waiting.Approve(ctx, in.ID, who(ctx).Name)
	if err != nil {
		return nil, s.waitingProblem(ctx, &i, "tried to approve "+printable(in.ID), err)
	}
	s.record(ctx, audit.Record{Cluster: i.Cluster, Node: i.Node, What: "approved the promotion of " + i.Node + " that " + i.Who.Name + " had asked for", Outcome: audit.Done, Detail: printable(in.Body.Note), Kind: "approval"})
	if i.State == schedule.Starting {
		i = s.waiter.Go(ctx, i)
	}
	if i.State == schedule.Refused {
		return nil, &Problem{Title: "Approved, and refused by then", Status: 409, Code: CodeStaleReport, Detail: i.Why, Fix: "look at the fresh report and ask again", Retry: true}
	}
	return &status[Waiting]{http.StatusAccepted, s.waitingView(ctx, &i)}, nil
}

func (s *Server) postReject(ctx context.Context, in *approvalInput) (*body[Waiting], error) {
	if s.Waiting == nil {
		return nil, missing("approvals")
	}
	why := "rejected by " + who(ctx).Name
	if in.Body.Note != "" {
		why += ": " + printable(in.Body.Note)
	}
	i, ok := s.Waiting.Item(in.ID)
	if ok && i.State != schedule.AwaitingApproval {
		ok = false
	}
	err := schedule.ErrUnknown
	if ok {
		i, err = s.Waiting.Cancel(ctx, in.ID, why, true)
	}
	if err != nil {
		return nil, s.waitingProblem(ctx, &i, "tried to reject "+printable(in.ID), err)
	}
	s.record(ctx, audit.Record{Cluster: i.Cluster, Node: i.Node, What: "rejected the promotion of " + i.Node + " that " + i.Who.Name + " had asked for", Outcome: audit.Done, Detail: printable(in.Body.Note), Kind: "approval"})
	return &body[Waiting]{s.waitingView(ctx, &i)}, nil
}

func (s *Server) postCancel(ctx context.Context, in *cancelInput) (*body[Operation], error) {
	o, ok := s.Inventory.Operation(in.ID)
	if !ok {
		return nil, (&unknownOperation{in.ID}).problem()
	}
	p := who(ctx)
	err := s.Executor.Cancel(ctx, in.ID, p.Who)
	what := fmt.Sprintf("tried to cancel operation %s (%s)", in.ID, o.Kind)
	switch {
	case errors.Is(err, executor.ErrTooLate):
		now, _ := s.Inventory.Operation(in.ID)
		return nil, s.refuse(ctx, o.Plan.Cluster, o.Plan.Node, what, &Problem{Title: "Too late to cancel", Status: 409, Code: CodeTooLate, Detail: err.Error(), OperationID: in.ID, Fix: cancelFix(&now)})
	case err != nil:
		return nil, s.refuse(ctx, o.Plan.Cluster, o.Plan.Node, what, err)
	}
	s.record(ctx, audit.Record{Cluster: o.Plan.Cluster, Node: o.Plan.Node, What: fmt.Sprintf("cancelled operation %s (%s)", in.ID, o.Kind), Outcome: audit.Cancelled, Detail: printable(in.Body.Reason), Kind: o.Kind})
	o, _ = s.Inventory.Operation(in.ID)
	return &body[Operation]{s.operationView(&o)}, nil
}

func cancelFix(o *operation.Operation) string {
	if _, ok := o.UndoUntil(); ok {
		return "switch it back: baton undo " + o.Operation
	}
	return "watch it: baton op watch " + o.Operation
}

// promoter begins what has waited.
type promoter struct{ e *executor.Executor }

// Plan implements schedule.Promoter.
func (p promoter) Plan(cluster, node string, overrides ...string) (plan.Plan, error) {
	return p.e.Plan(cluster, node, overrides...)
}

// Begin implements schedule.Promoter.
func (p promoter) Begin(ctx context.Context, id string, r schedule.Request, now *plan.Plan) (string, error) {
	return p.e.Promote(ctx, executor.Request{Cluster: r.Cluster, Node: r.Node, TypedName: r.Node, ReportHash: now.Report.Hash, Generation: r.Generation,
		Reason: r.Reason, Overrides: r.Overrides, Who: r.Who, UndoOf: r.UndoOf, Approver: r.Approver, Waited: id})
}

// operationsOf finds what something that waited became.
type operationsOf struct{ s *Server }

// OperationsOf implements schedule.Operations.
func (o operationsOf) OperationsOf(cluster string) (out []operation.Operation) {
	c, _ := o.s.Inventory.Cluster(cluster)
	for _, id := range c.Operations {
		if op, ok := o.s.Inventory.Operation(id); ok {
			out = append(out, op)
		}
	}
	return out
}

// RunWaiting starts what waits when its turn comes, until ctx ends. inCharge
// tells whether this control node decides; nil: it does.
func (s *Server) RunWaiting(ctx context.Context, inCharge func() bool) error {
	s.waiter.InCharge = inCharge
	return s.waiter.Run(ctx)
}

// newWaiter makes the runner of what waits; nil when nothing can wait.
func (s *Server) newWaiter() *schedule.Runner {
	if s.Waiting == nil {
		return nil
	}
	return &schedule.Runner{Book: s.Waiting, Promoter: promoter{s.Executor}, Operations: operationsOf{s}, Log: s.Log,
		Record: func(ctx context.Context, r audit.Record) {
			r.ID, r.At = newAttemptID(), s.Now()
			if _, err := s.Audit.Append(context.WithoutCancel(ctx), r); err != nil {
				s.Log.Error("attempt could not be audited", "what", r.What, "err", err)
			}
		}}
}
