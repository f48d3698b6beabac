"""Keys of fastai, timm, Lightning's template, Hugging Face and ultralytics, and pets' key for each.

They are not translated: a line says what to type. Two names may mean different things there, and a
run's overrides stay those of pets.
"""

from __future__ import annotations

# What to type in pets, by the names that others have for it: lower case, with `_` for `-`. An
# answer begins with an override, or is a sentence. Of several with one name, the first counts
# whose key the command has.
ANSWERS = {
    # stages
    "plan.stages.head.lr=1e-3 (each stage has its own; auto: the lr finder's)":
        "lr lr_max max_lr lr0 base_lr learning_rate optimizer.lr optim.lr model.optimizer.lr",
    "plan.stages.head.epochs=4 (each stage has its own)":
        "epoch epochs n_epoch n_epochs num_epochs max_epochs num_train_epochs cyc_len "
        "trainer.max_epochs max_steps",
    "plan=fine_tune plan.stages.body.epochs=2": "freeze_epochs fine_tune",
    "plan.stages.head.freeze_to=0 (-1: the head alone trains)":
        "freeze frozen unfreeze freeze_layers freeze_backbone trainable_layers feature_extract",
    "plan.stages.head.pct_start=0.3 (of its steps)":
        "pct_start warmup_epochs warmup_steps warmup_ratio warmup",
    "plan.stages.head.schedule=constant":
        "sched scheduler lr_scheduler lr_scheduler_type cos_lr model.scheduler",
    "plan.stages.head.div=25": "div div_factor warmup_lr lrf",
    "plan.stages.head.lr=auto": "lr_find auto_lr_find auto_lr",
    "lr_finder.start_lr=1e-7": "start_lr",
    "lr_finder.end_lr=10": "end_lr",
    "lr_finder.steps=100": "num_it num_training",
    "optimizer=sgd": "opt optim optimizer_name",
    "optimizer.weight_decay=0.01": "wd weight_decay",
    "optimizer.betas=[0.9,0.99]": "moms opt_betas",
    # data
    "data.batch_size=32": "b bs batch batch_size per_device_train_batch_size train_batch_size",
    "batch_size=32": "b bs batch data.batch_size per_device_eval_batch_size",
    "data.size=224": "img_size image_size imgsz input_size resolution image_resolution crop_size",
    "data.num_workers=4": "j workers n_workers num_workers dataloader_num_workers",
    "num_workers=4": "j workers n_workers data.num_workers dataloader_num_workers",
    "source=photo.jpg": "files image images img input path data_dir data.root",
    "data=folder data.root=my_photos":
        "data_dir data_path dataset dataset_dir data_root train_dir imagefolder paths.data_dir",
    "data=table data.table=labels.csv data.label_column=label":
        "csv csv_path csv_file train_csv label_csv metadata_file label_col",
    r"data.label_regex='^(.+)_\d+'": "pat",
    "data.label_from=folder (or filename, table)": "label_func get_y",
    "data.valid_pct=0.2":
        "val_size val_split val_pct val_ratio valid_split validation_split train_val_test_split",
    "data.test_pct=0.2": "test_size test_split test_ratio",
    "data.cache=decoded": "cache cache_images",
    "augment=randaugment (or lesson, trivial, mixup, cutmix, none)":
        "aa aug augmentation augmentations auto_augment transform transforms tfms batch_tfms "
        "item_tfms train_transforms",
    "augment=mixup": "mixup mixup_alpha",
    "augment=cutmix": "cutmix cutmix_alpha",
    # network
    "model=resnet50 (any of timm's: model=timm model.name=<name>)":
        "arch architecture backbone encoder net network model_name model_name_or_path",
    "model.weights=none (the default is pretrained)":
        "pretrained use_pretrained weights pretrained_weights initial_checkpoint init_from",
    "model/head=concat_pool model.head.dropout=0.5": "drop dropout drop_rate ps",
    "the photos' labels say the classes; remove it": "n_classes n_out nc num_classes num_labels",
    "model.channels_last=true": "channels_last",
    "loss.label_smoothing=0.1": "label_smoothing label_smoothing_factor smoothing",
    "loss=own loss._target_=torch.nn.CrossEntropyLoss": "criterion loss_fn loss_func",
    # running
    "resume=outputs/<run>":
        "ckpt ckpt_path checkpoint load_checkpoint resume_from resume_from_checkpoint",
    "run=outputs/<run>":
        "ckpt_path checkpoint checkpoint_path load_from learner model model_path path pkl weights "
        "resume",
    "trainer.precision=bf16-mixed": "amp amp_dtype bf16 fp16 half mixed_precision precision",
    "trainer.accelerator=gpu": "accelerator cuda device gpu no_cuda use_cpu use_gpu",
    "device=cuda": "accelerator cuda gpu no_cuda use_cpu use_gpu trainer.accelerator",
    "trainer.devices=2": "devices gpus n_gpu num_gpu num_gpus nproc_per_node world_size",
    "trainer.accumulate_grad_batches=2":
        "accum_iter accumulate accumulate_grad_batches grad_accum_steps "
        "gradient_accumulation_steps nbs",
    "trainer.gradient_clip_val=1":
        "clip clip_grad grad_clip gradient_clip gradient_clip_val max_grad_norm",
    "compile=true": "torch_compile torchcompile",
    "debug=fast": "barebones fast_dev_run smoke_test trainer.fast_dev_run",
    "timeout 1h pets train ... stops a run so that it can be resumed": "max_time time_limit",
    "logger=wandb": "log_wandb report_to use_wandb wandb wandb_project",
    "callbacks=ema": "ema ema_decay model_ema model_ema_decay use_ema",
    "seed=42": "manual_seed random_seed random_state seed_everything set_seed train_seed",
    "out=<folder>": "out_dir output output_dir save_dir",
    "hydra.run.dir=outputs/mine":
        "exp_dir exp_name experiment_name log_dir logging_dir name out_dir output output_dir "
        "paths.output_dir project run_name save_dir task_name work_dir",
    "-m hydra/sweeper=optuna hydra.sweeper.n_trials=30": "hparams_search n_trials",
    "threshold=0.5": "conf conf_thres confidence",
    "top_k=5": "k topk",
    "pets eval run=outputs/<run> measures a run": "do_eval do_test eval_only evaluate test val",
}  # fmt: skip

# What these stand for depends on the section in which they are.
_WHOLE = {"name", "path", "model", "weights", "data", "test", "val", "project", "resume", "cache"}


def answers(key: str) -> list[str]:
    """Return what a key of another package is in pets: overrides or sentences, the likeliest first.

    A section before the name matters only if the table has it: `train.epochs` is `epochs`.
    """
    whole = key.lower().replace("-", "_")
    last = whole.rpartition(".")[2]
    names = [whole] if last in _WHOLE else [whole, last]
    return [text for name in names for text, known in ANSWERS.items() if name in known.split()]
