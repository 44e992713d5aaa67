#!/bin/bash
# Pre-training on 4 hosts with 8 GPUs each: sbatch slurm.sh
# Each task is a worker; keras-plm reads their addresses from Slurm. A job that Slurm stops resumes when it is requeued.
#SBATCH --job-name=pretrain
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120

srun keras-plm pretrain --corpus /shared/prepared/books --config base --steps 100000 --batch-size 2048 \
  --checkpoint-every 1000 --strategy multi_worker --save-to /shared/models/base --verbose 2
status=$?
# 143: stopped by SIGTERM at the end of the time, after a checkpoint
[ "$status" -eq 143 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$status"
