#!/usr/bin/env bash
# curl, line by line what a reader of the README types: nigh-test: server=yes needs=curl
set -u
url=${NIGH_URL:-http://127.0.0.1:6333}
failed=0

# expect NAME STATUS TEXT CURL-ARGUMENTS...: the answer has that status and holds that text.
expect() {
    local name=$1 status=$2 text=$3 answer
    shift 3
    answer=$(curl -sS -m 20 -w '\n%{http_code}' "$@" 2>&1)
    if [ "${answer##*$'\n'}" = "$status" ] && [[ ${answer%$'\n'*} == *"$text"* ]]; then
        echo "ok $name"
    else
        echo "FAIL $name: ${answer//$'\n'/ }"
        failed=1
    fi
}

expect root_names_the_server 200 '"title":"nigh' "$url/"
expect health_is_plain_text 200 'healthz check passed' "$url/healthz"
expect readiness_is_plain_text 200 'all shards are ready' "$url/readyz"
expect create_a_collection 200 '"result":true' -X PUT "$url/collections/star_charts" \
    -H 'Content-Type: application/json' -d '{"vectors": {"size": 4, "distance": "Dot"}}'
expect create_it_again 409 'already exists' -X PUT "$url/collections/star_charts" \
    -H 'Content-Type: application/json' -d '{"vectors": {"size": 4, "distance": "Dot"}}'
expect upsert_points 200 '"status":"completed"' -X PUT "$url/collections/star_charts/points?wait=true" \
    -d '{"points": [{"id": 1, "vector": [0.05, 0.61, 0.76, 0.74], "payload": {"colony": "Mars"}},
                    {"id": 2, "vector": [0.19, 0.81, 0.75, 0.11], "payload": {"colony": "Jupiter"}}]}'
expect without_wait_it_is_acknowledged 200 '"status":"acknowledged"' -X PUT "$url/collections/star_charts/points" \
    -d '{"points": [{"id": 3, "vector": [0.36, 0.55, 0.47, 0.94], "payload": {"colony": "Venus"}}]}'
expect query_with_payload 200 '{"colony": "Mars"}' -X POST "$url/collections/star_charts/points/query" \
    -d '{"query": [0.2, 0.1, 0.9, 0.7], "limit": 1, "with_payload": true}'
expect query_with_filter 200 '{"colony": "Jupiter"}' -X POST "$url/collections/star_charts/points/query" \
    -d '{"query": [0.2, 0.1, 0.9, 0.7], "filter": {"must": [{"key": "colony", "match": {"value": "Jupiter"}}]}, "with_payload": true}'
expect older_search 200 '"id":1' -X POST "$url/collections/star_charts/points/search" \
    -d '{"vector": [0.2, 0.1, 0.9, 0.7], "limit": 3}'
expect one_point 200 '{"colony": "Mars"}' "$url/collections/star_charts/points/1"
expect a_point_that_is_not_there 404 'Not found: Point with id 9' "$url/collections/star_charts/points/9"
expect doubled_slashes_collapse 200 '"count":' -X POST "$url//collections/star_charts//points/count/" -d '{}'
expect a_wrong_body_is_named 400 'Format error in JSON body' -X POST "$url/collections/star_charts/points/query" -d '{"query": [0.2,'
expect a_wrong_dimension_is_named 400 'expected dim: 4, got 2' -X POST "$url/collections/star_charts/points/query" -d '{"query": [0.2, 1]}'
expect a_head_request_has_no_body 200 '' -I "$url/collections/star_charts"
expect a_large_upload_waits_for_100_continue 200 '"status":"completed"' -X PUT "$url/collections/star_charts/points?wait=true" \
    -H 'Expect: 100-continue' -d "{\"points\": [{\"id\": 4, \"vector\": [1, 0, 0, 0], \"payload\": {\"text\": \"$(printf 'x%.0s' {1..70000})\"}}]}"
expect metrics_are_prometheus_text 200 '# TYPE' "$url/metrics"
expect an_unknown_path 404 '' "$url/nothing/here"
expect delete_the_collection 200 '"result":true' -X DELETE "$url/collections/star_charts"
expect it_is_gone 404 "doesn't exist" "$url/collections/star_charts"
exit $failed
