#!/bin/sh
# Generates gen/eventstore and gen/kurrent from the protos in this folder (make proto).
# Needs on PATH: protoc, protoc-gen-go, protoc-gen-go-grpc, protoc-gen-go-vtproto, in the versions go.mod names:
#   go install google.golang.org/protobuf/cmd/protoc-gen-go
#   go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
#   go install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto
set -eu
cd "$(dirname "$0")"
for tool in protoc protoc-gen-go protoc-gen-go-grpc protoc-gen-go-vtproto; do
	command -v "$tool" >/dev/null || { echo "proto/generate.sh: $tool is not on PATH; see the head of this script" >&2; exit 1; }
done
rm -rf ../gen/eventstore ../gen/kurrent

protoc -I . -I wellknown \
	--go_out=.. --go_opt=module=baton \
	--go-grpc_out=.. --go-grpc_opt=module=baton \
	eventstore/*.proto kurrent/*.proto

# Hot messages also get reflection-free marshal, unmarshal and size.
protoc -I . -I wellknown \
	--go-vtproto_out=.. --go-vtproto_opt=module=baton,features=marshal+unmarshal+size \
	eventstore/shared.proto eventstore/streams.proto

# The agent's protos, where present, are generated into gen/agent.
if ls agent/*.proto >/dev/null 2>&1; then
	protoc -I . -I wellknown \
		--go_out=.. --go_opt=module=baton \
		--go-grpc_out=.. --go-grpc_opt=module=baton \
		agent/*.proto
fi
