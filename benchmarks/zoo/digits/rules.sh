# What the rows of the leaderboard have in common (docs/reports/digits-leaderboard.md). A row's script
# reads this file: `bash benchmarks/zoo/digits/ROW.sh DIGITS RUN`. Training takes one core, in minutes of
# processor time. Every two minutes 200 validation clips are scored, which counts as training.
set -e
export OMP_NUM_THREADS=1 PYTHONPATH="$(dirname "$0")/..:$PYTHONPATH"
digits=$1
run=$2

train() { # FOLDER MINUTES OPTION ...
    python -m foreframe train --run "$1" --minutes "$2" "${@:3}" --data_args.digits "$digits" \
        --validation_clips 200 --trainer.val_check_interval 00:00:02:00 --epochs 1000000 \
        --precision auto --picture_every 0 --verbose false --import processor_time
}
