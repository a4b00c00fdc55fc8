package server

import (
	"bytes"
	"testing"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// TestTextThatIsNone: what a workload sent that is no UTF-8 costs neither its own record
// nor those beside it.
func TestTextThatIsNone(t *testing.T) {
	t.Parallel()
	entry := func(path string) *data.HTTPAccessLogEntry {
		return &data.HTTPAccessLogEntry{
			CommonProperties: &data.AccessLogCommon{CustomTags: map[string]string{"authority": path}},
			Request:          &data.HTTPRequestProperties{Path: path, RequestBodyBytes: 7},
		}
	}
	m := &als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &als.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*data.HTTPAccessLogEntry{entry("/good"), entry("/XXX"), entry("/end")}},
	}}
	raw, err := proto.Marshal(m)
	require.NoError(t, err)
	raw = bytes.ReplaceAll(raw, []byte("/XXX"), []byte("/\xff\x80\xc0"))
	require.Error(t, proto.Unmarshal(raw, &als.StreamAccessLogsMessage{}))

	var got als.StreamAccessLogsMessage
	require.NoError(t, unmarshalAnyText(raw, &got))
	all := got.GetHttpLogs().GetLogEntry()
	require.Len(t, all, 3)
	require.Equal(t, "/good", all[0].GetRequest().GetPath())
	require.Equal(t, "/\ufffd", all[1].GetRequest().GetPath())
	require.Equal(t, "/\ufffd", all[1].GetCommonProperties().GetCustomTags()["authority"])
	require.Equal(t, "/end", all[2].GetRequest().GetPath())
	require.EqualValues(t, 7, all[1].GetRequest().GetRequestBodyBytes())

	for cut := range raw {
		require.Error(t, unmarshalAnyText(raw[:max(1, cut)], &als.StreamAccessLogsMessage{}), "cut at %d", cut)
	}
}
