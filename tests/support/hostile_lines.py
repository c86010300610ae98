"""Hostile command lines written by hand: code by name, places, interpolations, numbers, types, syntax, text."""

__all__ = ["EVIL", "KEYS", "LINES", "words"]

EVIL = "canary.strike"  # a module that leaves a trace where it is imported or called

KEYS = ("seed", "run.name", "data.root", "data.name", "space.args", "network", "weights.lr", "method.name", "device")

LINES = [
    # Code by name.
    f"_target_={EVIL}", f"+_target_={EVIL}", f"++_target_={EVIL}", "_target_=os.system", f"+space._target_={EVIL}",
    f"method._target_={EVIL}", f"+method={{_target_:{EVIL}}}", f"data={{_target_:{EVIL}}}",
    f"+data.kwargs._target_={EVIL}", f"+network._target_={EVIL}", f"network={{_target_:{EVIL}}}",
    f"+space.args._target_={EVIL}", f"method.name={EVIL}", f"+hydra.callbacks.x._target_={EVIL}",
    f"hydra.callbacks={{x:{{_target_:{EVIL}}}}}", f"hydra.launcher._target_={EVIL}",
    f"++hydra.launcher._target_={EVIL}", f"hydra.sweeper._target_={EVIL}", f"hydra.sweeper={{_target_:{EVIL}}}",
    f"+hydra.launcher.x={{_target_:{EVIL}}}", f"hydra/launcher={EVIL}", f"hydra/sweeper@hydra.callbacks={EVIL}",
    f"+hydra/callbacks={EVIL}", f"hydra.job_logging.handlers.x.()={EVIL}",
    f"+hydra.job_logging.handlers.x={{class:{EVIL}}}", f"hydra.hydra_logging.handlers.stderr.class={EVIL}",
    f"hydra.hydra_logging.handlers.stderr.stream=ext://{EVIL}", "hydra.job.env_set.PATH=/tmp",
    "+hydra.job.env_set.LD_PRELOAD=x", "hydra.job.env_copy=[HOME]", "hydra.searchpath=[pkg://canary]",
    "hydra.searchpath=pkg://canary", "hydra.searchpath=[structured://canary]", "hydra.searchpath=[http://localhost/x]",
    "hydra.searchpath=[/nowhere]", "hydra.searchpath=3", "hydra.searchpath=[[]]", "hydra.verbose=canary",
    "hydra.mode=EVIL", "hydra.mode=3",
    # Places.
    "hydra.run.dir=/etc", "hydra.sweep.dir=/etc", "hydra.sweep.subdir=../../etc", "hydra.output_subdir=/etc",
    "hydra.runtime.cwd=/", "hydra.job.chdir=true", "hydra={}", "hydra=null", "~hydra", "~hydra.launcher",
    "hydra/run=x", "run.name=../../etc/passwd", "run.name=/etc/passwd", "run.name=..", "run.name=''",
    "run.name='a/../../b'", "run.name=.", "run.name=" + "a" * 3000, "genotype=/etc/passwd",
    "data.root=../../../../etc data=folder", "space=../../../../etc/passwd", "space=/etc/passwd",
    "data=../space/darts", "experiment=../search", "space@hydra=darts", "space@_global_.hydra=darts", "data@=digits",
    "+data@hydra.launcher=digits", "+/etc/passwd=x", "file:///etc/passwd=1",
    # Interpolations and resolvers.
    "data.root=${oc.env:HOME}", "data.root=${oc.env:NOT_THERE}", "data.root=${nowhere}", "seed=${seed}",
    "seed=${epochs}", "data.root=${data.root}", "run.name=${resolver:x}", "run.name=${oc.decode:'[1,2'}",
    "run.name=${oc.create:{a:b}}", "run.name=${oc.select:hydra}", "run.name=${hydra:launcher}",
    "run.name=${hydra.launcher}", "run.name=${now:%Y}", "run.name=${python_version:micro}", "network=${weights}",
    "weights=${alphas}", "run=${run}", "seed=${", "seed=${}", "seed=$", "data.root=${..${..}}",
    "run.name=${oc.dict.values:hydra}", "seed=${oc.env:HOME}", "seed=???", "data.root=???", "run=???",
    # Numbers.
    "seed=1e999", "seed=-1", "seed=99999999999999999999999999", "seed=nan", "seed=0x10", "seed=1_0", "seed=01",
    "seed=1.5", "epochs=0", "epochs=-5", "epochs=inf", "batch_size=-1", "batch_size=1", "weights.lr=nan",
    "weights.lr=-inf", "weights.lr=inf", "weights.lr=1e400", "weights.momentum=1", "alpha_share=nan", "alpha_share=1",
    "weights.clip=-1", "alphas.beta1=2", "space.args.nodes=1000000000", "space.args.nodes=-1", "space.args.nodes=0",
    "space.args.nodes=x", "space.args.nodes=true", "space.args.operations=[]", "space.args.operations=[1,2]",
    "space.args.operations=none", "space.args.operations=[a,a]", "network.channels=1000000000000",
    "network.layers=99999999", "+network.num_classes=99999999999", "network.stem=9", "data.image_size=-3",
    "data.limit=0", "data.workers=-1", "checkpoint.keep=0", "log.every=0", "amp=fp64", "data.pad=-1",
    # Types and shapes.
    "seed=[1,2]", "seed={a:1}", "seed=null", "seed=true", "seed=", "run=3", "data=null", "data=[]",
    "data=[digits,mnist]", "space=null", "method={}", "network=3", "network=[1]", "network={1:2}", "+network={1:2}",
    "+data.kwargs.1=2", "weights=x", "++network.channels.deep=3", "seed.deep=3", "seed[0]=3", "weights.lr.x=1",
    "data.kwargs=[1]", "+space.args={null:1}", "+space.args.__class__=x", "__class__=x", "+__init__.__globals__=x",
    "+network.self=1", "+space.args.name=x", "keys=1",
    # Syntax.
    "", " ", "=", "==", "=3", "seed", "seed==3", "a=b=c", "'", '"', "run.name='", 'run.name="', "run.name=[",
    "run.name=]", "run.name={", "run.name=}", "run.name={a:", "run.name=(", "run.name=a(", "run.name=choice(",
    "run.name=choice(1,2", "run.name=\\", "seed=1,2", "seed=range(0,9999999999)", "seed=choice(1,2)", "seed=glob(*)",
    "space=glob(*)", "seed=sort(1,2)", "seed=int(x)", "seed=extend_list(1)", "run.name=shuffle(a)", "~", "~seed",
    "~nothing", "~data=[]", "~data={}", "+", "++", "+seed=3", "++seed=3", "+x", "+x=1", "+x.y.z=1", "++hydra=1",
    "!x=1", ".=1", "..=1", ".seed=1", "seed.=1", "/=1", "@=1", ":=1", "a:b=1", "@:@=1", "data@x:y=digits", "-x",
    "--x=1", "---", "--config-dir", "--config-name=../../x", "--config-name=", "--info=x", "--config-path=/etc",
    "--experimental-rerun=canary.pickle", "--package=hydra", "--resolve", "-p", "--cfg=evil", "-cn=hydra/config",
    "--config-dir=/nowhere", "--config-dir=/etc/passwd", "--multirun=3", "--run=x", "-m hydra/launcher=nope",
    "-m seed=range(0,1e9)", "-m seed=interval(0,1)", "-m seed=", "-m -m", "-m --cfg job", "-m hydra.sweep.dir=/etc",
    "-m seed=choice()",
    # Text.
    "run.name=\x00", "run.name='a\nb'", "run.name='a\rb'", "run.name=\x1b[31mred", "run.name=\u202eabc",
    "run.name=\udcff", "run.name=ü", "run.name=🦊", "🦊=1", "ѕeed=1", "seed=１", "data.name=" + "x" * 100_000,
    "x" * 100_000, "x" * 100_000 + "=1", "run.name=" + "[" * 3900, "run.name=" + "{a:" * 1300,
    "run.name=" + "[" * 1900 + "]" * 1900, "seed=" + "9" * 3900, ".".join("a" * 1900) + "=1",
    "data.name=" + "${a:" * 900, "run.name='$(touch canary.struck)'", "run.name='`touch canary.struck`'",
    "run.name='; touch x'", "data.root='%s%s%n'", "data.root='{0.__class__}'", "method.name='{{7*7}}'",
]  # fmt: skip


def words(line: str) -> list[str]:
    """The words behind the name of the stage: options and what follows them are words of their own."""
    return line.split() if line.startswith("-") or line.endswith("data=folder") else [line]
