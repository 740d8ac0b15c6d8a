package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"baton/control/audit"
	"baton/control/executor"
	"baton/control/plan"
)

func (s *Server) getVersion(context.Context, *none) (*body[Version], error) {
	return &body[Version]{Version{s.Version, s.Commit}}, nil
}

func (s *Server) getClusters(context.Context, *none) (*body[ClusterList], error) {
	rows, _ := s.board()
	return &body[ClusterList]{ClusterList{rows}}, nil
}

func (s *Server) getCluster(_ context.Context, in *clusterInput) (*body[ClusterDetail], error) {
	d, ok := s.detail(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	return &body[ClusterDetail]{d}, nil
}

func (s *Server) getReport(ctx context.Context, in *nodeInput) (*body[Report], error) {
	p, err := s.Executor.Plan(in.ID, in.Node)
	if err != nil {
		return nil, s.problem(ctx, in.ID, err)
	}
	return &body[Report]{reportView(&p.Report)}, nil
}

func (s *Server) postPlan(ctx context.Context, in *planInput) (*body[Plan], error) {
	p, err := s.Executor.Plan(in.ID, in.Body.Node, in.Body.Overrides...)
	if err != nil {
		return nil, s.problem(ctx, in.ID, err)
	}
	return &body[Plan]{planView(&p)}, nil
}

func (s *Server) postPromotion(ctx context.Context, in *promotionInput) (*status[PromotionAccepted], error) {
	if in.Body.DryRun {
		p, err := s.Executor.Plan(in.ID, in.Body.Node, in.Body.Overrides...)
		if err != nil {
			return nil, s.problem(ctx, in.ID, err)
		}
		return &status[PromotionAccepted]{http.StatusOK, PromotionAccepted{DryRun: true, Plan: ptr(planView(&p))}}, nil
	}
	who := who(ctx)
	accepted, err := s.beginPromotion(ctx, executor.Request{Cluster: in.ID, Node: in.Body.Node, TypedName: in.Body.TypedName,
		ReportHash: in.Body.ReportHash, Generation: uint64(in.Body.Generation), Reason: in.Body.Reason, Overrides: in.Body.Overrides, Who: who.Who}, in.Body.At)
	if err != nil {
		return nil, s.refuse(ctx, in.ID, in.Body.Node, fmt.Sprintf("tried to promote %s", printable(in.Body.Node)), err)
	}
	return &status[PromotionAccepted]{http.StatusAccepted, accepted}, nil
}

func (s *Server) postUndo(ctx context.Context, in *undoInput) (*body[PromotionAccepted], error) {
	who := who(ctx)
	cluster, node, err := s.Executor.UndoTarget(in.ID)
	what := "tried to switch back operation " + printable(in.ID)
	if cluster == "" {
		return nil, s.refuse(ctx, cluster, "", what, &unknownOperation{in.ID})
	}
	if err != nil {
		return nil, s.refuse(ctx, cluster, node, what, err)
	}
	accepted, err := s.beginPromotion(ctx, executor.Request{Cluster: cluster, Node: node, TypedName: in.Body.TypedName,
		ReportHash: in.Body.ReportHash, Generation: uint64(in.Body.Generation), Reason: in.Body.Reason, UndoOf: in.ID, Who: who.Who}, nil)
	if err != nil {
		return nil, s.refuse(ctx, cluster, node, what, err)
	}
	return &body[PromotionAccepted]{accepted}, nil
}

func (s *Server) getOperation(_ context.Context, in *operationInput) (*body[Operation], error) {
	o, ok := s.Inventory.Operation(in.ID)
	if !ok {
		return nil, (&unknownOperation{in.ID}).problem()
	}
	return &body[Operation]{s.operationView(&o)}, nil
}

// ownRecords bounds how long a page of the audit waits for what was recorded last.
const ownRecords = 3 * time.Second

// seeRecorded waits until what this node recorded of a cluster can be read here:
// who was refused finds it in the audit at once.
func (s *Server) seeRecorded(ctx context.Context, cluster string) {
	if s.Audit == nil {
		return
	}
	stream, revision, ok := s.Audit.Tail(cluster)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ownRecords)
	defer cancel()
	_ = s.Inventory.Wait(ctx, stream, revision) // else the page says what is known
}

func (s *Server) getAudit(ctx context.Context, in *auditInput) (*body[AuditPage], error) {
	if _, ok := s.Inventory.Cluster(in.ID); !ok && in.ID != audit.System {
		return nil, notFoundCluster(in.ID)
	}
	before := 0
	if in.Before != "" {
		n, err := strconv.Atoi(in.Before)
		if err != nil || n < 1 {
			return nil, &Problem{Title: "The request is not valid", Status: 400, Code: CodeBadRequest, Detail: "before is not the next of a page", Fix: "leave before out to begin at the newest"}
		}
		before = n
	}
	s.seeRecorded(ctx, in.ID)
	page := AuditPage{}
	var next int
	page.Rows, next = s.auditRows(in.ID, before, in.Limit)
	if next > 0 {
		page.Next = strconv.Itoa(next)
	}
	n, bad := s.chain(in.ID)
	page.Chain = AuditChain{OK: bad < 0, Records: n, Sentence: fmt.Sprintf("The chain of %d records is intact", n)}
	if bad >= 0 {
		page.Chain.Sentence = fmt.Sprintf("The chain breaks at record %d of %d: it was changed after it was written", bad+1, n)
	}
	return &body[AuditPage]{page}, nil
}

// refuse records a refused attempt and translates its reason.
func (s *Server) refuse(ctx context.Context, cluster, node, what string, err error) error {
	p := s.problem(ctx, cluster, err)
	rec := audit.Record{Cluster: cluster, Node: printable(node), What: what, Outcome: audit.Refused, Detail: p.Title + ": " + p.Detail}
	if _, ok := s.Inventory.Cluster(cluster); !ok {
		rec.Cluster, rec.What = audit.System, what+" of cluster "+printable(cluster)
	}
	s.record(ctx, rec)
	return p
}

type unknownOperation struct{ id string }

func (e *unknownOperation) Error() string { return "there is no operation " + strconv.Quote(e.id) }

func (e *unknownOperation) problem() *Problem {
	return &Problem{Title: "No such operation", Status: 404, Code: CodeUnknownOp, Detail: e.Error(), Fix: "baton audit lists them"}
}

// reportOf is a report's view, nil for operations that have none.
func reportOf(r *plan.Report) *Report {
	if r.Node == "" {
		return nil
	}
	return ptr(reportView(r))
}

// problem translates a refusal of the planner and the executor.
func (s *Server) problem(ctx context.Context, cluster string, err error) *Problem {
	var p *Problem
	var unknown *executor.UnknownNodeError
	var running *executor.RunningError
	var stale *executor.StaleError
	var refused *executor.RefusedError
	var noOp *unknownOperation
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &noOp):
		return noOp.problem()
	case errors.Is(err, executor.ErrUnknownCluster):
		return notFoundCluster(cluster)
	case errors.As(err, &unknown):
		p = &Problem{Title: "No such node", Status: 404, Code: CodeUnknownNode, Detail: err.Error(), Fix: "baton nodes " + cluster + " lists them"}
		if unknown.Other != "" {
			p.Title, p.Code = "The node belongs to another cluster", CodeNotOfCluster
		}
		return p
	case errors.As(err, &running):
		return &Problem{Title: "Another operation is running", Status: 409, Code: CodeRunning, Detail: running.What, OperationID: running.Operation,
			Fix: "watch it: baton op watch " + running.Operation, Retry: true}
	case errors.Is(err, executor.ErrTypedName):
		return &Problem{Title: "The typed name does not match", Status: 422, Code: CodeTypedName, Detail: "what was typed is not the name that was asked for", Fix: "type the name exactly"}
	case errors.Is(err, executor.ErrReason):
		return &Problem{Title: "A reason is needed", Status: 422, Code: CodeBadRequest, Detail: "checks are overridden; the audit keeps why", Fix: "say why: --reason, or the field reason"}
	case errors.As(err, &stale):
		return &Problem{Title: "The report is out of date", Status: 409, Code: CodeStaleReport, Detail: stale.Why, Report: reportOf(&stale.Fresh),
			Fix: "look at the fresh report, then confirm again", Retry: true}
	case errors.As(err, &refused):
		return &Problem{Title: "Refused by checks", Status: 409, Code: CodeRefused, Detail: refused.Plan.Refusals[0].Title, Refusals: refusals(refused.Plan.Refusals),
			Report: reportOf(&refused.Plan.Report), Fix: refused.Plan.Refusals[0].Fix}
	case errors.Is(err, executor.ErrUndo):
		return &Problem{Title: "It cannot be switched back", Status: 409, Code: CodeUndoGone, Detail: err.Error(), Fix: "promote the node instead"}
	}
	return s.internal(ctx, "carry out the request", err)
}
