"""Mistakes in the words and files of the other commands."""

import shutil

from conftest import Command, call
from packs import make_pack
from wrong_inputs import Case, Cases, World, edited, results_folder

from aoft_bench.records.files import predictions_path

CASES = Cases()
case, wrong, asked = CASES.case, CASES.wrong, CASES.asked


asked("prepare: which dataset", "prepare", "dataset=", "which dataset? give dataset=<cifar100|")
asked("prepare: only settings", "prepare", "data.cache=cache", "which dataset?")
asked("prepare: a bare name", "prepare", "svhn", "cannot read the argument 'svhn'", "as in dataset=svhn")
asked("prepare: a flag", "prepare", "-x dataset=digits", "cannot read the argument '-x'", "name=value")
asked(
    "prepare: no such task",
    "prepare",
    "dataset=digits,dgits",
    "unknown dataset or suite 'dgits'",
    "mean 'digits'",
    "all",
)
asked(
    "prepare: no such option", "prepare", "dataset=digits data.cach=x", "unknown option of data 'cach'", "mean 'cache'"
)
asked(
    "prepare: no TensorFlow",
    "prepare",
    "dataset=svhn",
    "no data for svhn",
    "needs TensorFlow",
    "pip install -e",
    "pack",
)
asked(
    "prepare: FGVC by TF's bilinear",
    "prepare",
    "dataset=cub data.interpolation=bilinear_tf",
    "bilinear_tf is not defined",
)
asked("prepare: fetch", "prepare", "dataset=svhn fetch=pubic", "unknown value of fetch 'pubic'", "allowed: public")
asked("prepare: a folder named by nothing", "prepare", "dataset=digits data.cache=", "data.cache: got ''")
asked("export: an empty format", "export", "dataset=digits format= out=o", "unknown format ''", "allowed: folder")
asked(
    "export: no such home", "export", "dataset=digits out=~nosuchuser/o", "out=~nosuchuser/o: ~nosuchuser has no home"
)
asked("tables: a long name", "tables", "x" * 300, "the system refused 'xxx", "File name too long")
asked(
    "analyze: a long name",
    "analyze",
    f"backbone=vit_nano backbone.name={'x' * 300}",
    "backbone.name: got 'xxx",
    "at most 255",
)
asked("evaluate: the record last", "evaluate", "data.root=pack gone.json", "no record gone.json")
asked("evaluate: no record at all", "evaluate", "data.root=pack", "no record data.root=pack")
asked("export-model: the record last", "export-model", "out=o gone.json", "no record gone.json")
asked("export-model: where to", "export-model", "record.json", "where to? give out=<folder>")
asked("export-model: format", "export-model", "r.json out=o format=tim", "unknown format 'tim' (did you mean 'timm'?)")
asked("export-model: no record", "export-model", "gone.json out=o", "no record gone.json")
asked("export-model: option", "export-model", "r.json to=o", "unknown change 'to'", "allowed: ", "out")
asked("export-model: twice", "export-model", "r.json out=o out=p", "out= is given twice")
asked("predict: no model", "predict", "a.jpg", "which model? give model=DIR")
asked("predict: no images", "predict", "model=gone", "which images? give files")
asked("predict: no such image", "predict", "a.jpg model=gone", "no image a.jpg")
asked("predict: how many", "predict", "a.jpg model=gone top=0", "top: got '0', give a number from 1")
asked("predict: option", "predict", "a.jpg modl=gone", "unknown option 'modl' (did you mean 'model'?)")
asked("forgetting: of what", "analyze", "forgetting probe=digits", "nothing to analyse: give records")
asked("forgetting: no record", "analyze", "forgetting gone.json", "no record gone.json")
asked("doctor: two names", "doctor", "--compare a", "--compare: expected 2 arguments")
asked("export: where to", "export", "dataset=digits", "where to? give out=<folder>")
asked("export: no such format", "export", "dataset=digits format=zip out=o", "unknown format 'zip'", "allowed: folder")


@case("evaluate: no record", "no record nowhere.json", "<results>/records/", command="evaluate")
def _(world: World) -> list[str]:
    return ["nowhere.json"]


@case("evaluate: truncated record", "is not a whole record", "run the cell again", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    path.write_text(path.read_text()[:300])
    return [str(path)]


@case("evaluate: other schema", "has schema 99, this version reads 1", command="evaluate")
def _(world: World) -> list[str]:
    return [str(edited(world.record(), schema=99))]


@case("evaluate: configuration taken out", "config.backbone.img_size is None", "run the cell again", command="evaluate")
def _(world: World) -> list[str]:
    return [str(edited(world.record(), config=None))]


@case("evaluate: no parameters", ".safetensors is not here", "run it again", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").unlink()
    return [str(path)]


@case("evaluate: damaged parameters", ".safetensors is damaged", "results.mode=force", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").write_bytes(b"no tensors")
    return [str(path)]


@case("evaluate: truncated predictions", "predictions.npz is not what the run wrote", "again", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    predictions_path(path).write_bytes(predictions_path(path).read_bytes()[:-100])
    return [str(path)]


@case("evaluate: other data", "the data here are not those of the record", "the record has", command="evaluate")
def _(world: World) -> list[str]:
    make_pack(world.pack, seed=1)
    return [str(world.record()), "data.root=pack", "data.cache=cache"]


@case("evaluate: unknown change", "unknown change 'data.rot' (did you mean 'data.root'?)", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "data.rot=x"]


@case("evaluate: wrong change", "trainer.threads: got 'many', must be an integer", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "trainer.threads=many"]


@case("evaluate: a digit that is no number", "trainer.threads: got '²', must be an integer", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "trainer.threads=²"]


@case("evaluate: alpha above 1", "alpha: got '1.5', give numbers from 0", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "alpha=0,1.5"]


@case("evaluate: alpha that is no number", "alpha: got 'nan', give numbers from 0", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "alpha=nan"]


@case("export-model: no parameters", ".safetensors is not here", "run it again", command="export-model")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").unlink()
    return [str(path), "out=made"]


@case("export-model: no update", "format=peft: linear is not a low-rank update", "format=timm", command="export-model")
def _(world: World) -> list[str]:
    return [str(world.record()), "out=made", "format=peft"]


@case("forgetting: no parameters", ".safetensors is not here", "run it again", command="analyze")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").unlink()
    return ["forgetting", str(path)]


@case("forgetting: no such probe", "unknown dataset 'cifar10' (did you mean 'cifar100'?)", command="analyze")
def _(world: World) -> list[str]:
    return ["forgetting", str(world.record()), "probe=cifar10"]


@case("predict: an empty folder", "no images in nothing; known endings: .jpg", command="predict")
def _(world: World) -> list[str]:
    (world.root / "nothing").mkdir()
    return ["nothing", "model=gone"]


@case("predict: no image", "cannot read the image empty.png", "or leave it out", command="predict")
def _(world: World) -> list[str]:
    """A network is read first, so one is exported."""
    assert call("export-model", str(world.record()), "out=made", cwd=world.root).code == 0
    (world.root / "empty.png").touch()
    return ["empty.png", "model=made"]


@case("tables: no records", "no records below nowhere/records", "run a cell first", command="tables")
def _(world: World) -> list[str]:
    return ["nowhere"]


@case("merge: not a results folder", "pack is no results folder: it has no records/", command="merge-results")
def _(world: World) -> list[str]:
    results_folder(world)
    return ["A", "pack", "out=C"]


@case("merge: a folder that is not here", "nowhere is not here; give folders as", command="merge-results")
def _(world: World) -> list[str]:
    results_folder(world)
    return ["A", "nowhere", "out=C"]


@case("merge: into a folder with files", "out=pack exists and is not an empty folder", command="merge-results")
def _(world: World) -> list[str]:
    return ["A", "B", "out=pack"]


@case("merge: into what it merges", "out=A/C is inside A, which is merged", command="merge-results")
def _(world: World) -> list[str]:
    return ["A", "B", "out=A/C"]


@case("merge: with itself", "A and A/../A are the same folder: give each once", command="merge-results")
def _(world: World) -> list[str]:
    return ["A", "./A/../A", "out=C"]


@case(
    "merge: no record that can be used", "A: none of its 1 records can be used; the first, A/", command="merge-results"
)
def _(world: World) -> list[str]:
    results_folder(world, seed=5)
    return ["A", "B", "out=C"]


@case("merge: unknown code", "its code digest feedfeed is not known", "code=feedfeed takes", command="merge-results")
def _(world: World) -> list[str]:
    results_folder(world, code="feedfeed")
    shutil.copytree(world.root / "A", world.root / "B")
    return ["A", "B", "out=C"]


asked("merge: one folder", "merge-results", "A out=C", "got 1 folder: give two or more, as in A B out=C")
asked("merge: where to", "merge-results", "A B", "where to? give a new folder, as in out=C")
asked("merge: out twice", "merge-results", "A B out=C out=D", "got out= twice")
asked("merge: unknown word", "merge-results", "A B uot=C", "unknown argument 'uot' (did you mean 'out'?)")
asked("verify: which cells", "verify", "sample=3", "which cells? give records or a results folder")
asked("verify: nothing there", "verify", "nowhere", "nowhere is not here; give records, or folders as")
asked("verify: no results folder", "verify", "pack", "pack is in no results folder: records are <results>/records/")
asked("verify: no such number", "verify", "pack sample=0", "sample=0: give a whole number from 1, as in sample=3")
asked("verify: no threads", "verify", "pack trainer.threads=many", "trainer.threads: got 'many', must be an integer")
asked("verify: no accelerator", "verify", "pack trainer.accelerator=tpu", "trainer.accelerator: got 'tpu'")
asked("verify: no whole seed", "verify", "pack seed=1e3", "seed=1e3: give a whole number from 0, as in seed=0")
asked("verify: not movable", "verify", "pack recipe.lr=1", "unknown change 'recipe.lr'", "trainer.accelerator")


@case("verify: an edited record", "was it edited? delete it and run the cell again", command="verify")
def _(world: World) -> list[str]:
    return [str(results_folder(world, seed=5).relative_to(world.root))]


FOREIGN = {
    "a task twice": ("A,dtd,0,50,x\nA,dtd,0,51,x", "line 3: dtd of A with seed 0 stands there twice; keep one"),
    "an unknown task": ("A,dtdd,0,50,x", "line 2: unknown task 'dtdd' (did you mean 'dtd'?)"),
    "a number out of range": ("A,dtd,0,501,x", "line 2: top1 is '501', not a number from 0 to 100 (in %)"),
    "a number that is none": ("A,dtd,0,nan,x", "line 2: top1 is 'nan', not a number from 0 to 100 (in %)"),
    "no whole seed": ("A,dtd,one,50,x", "line 2: seed is 'one', not a whole number from 0"),
    "no source": ("A,dtd,0,50,", "line 2: source is '': give a text of one line"),
    "too few values": ("A,dtd,0,50", "line 2: it has more or fewer values than there are columns"),
    "no line": ("", "x.csv has no numbers: give lines of method, task, seed, top1, source"),
    "no task of ours": (
        "A,cub,0,50,x",
        "no record scored on test has a task of x.csv (cub), so there is nothing",
    ),
}


def _foreign(content: str, header: str = "method,task,seed,top1,source") -> Case:
    def make(world: World) -> list[str]:
        results_folder(world)
        (world.root / "x.csv").write_text(f"{header}\n{content}\n")
        return ["A", "foreign=x.csv"]

    return make


for _what, (_content, _said) in FOREIGN.items():
    case(f"tables: foreign numbers, {_what}", _said, command="tables")(_foreign(_content))


case("tables: foreign numbers, no column", "x.csv has no column source; its first", command="tables")(
    _foreign("A,dtd,0,50", "method,task,seed,top1")
)
asked("tables: no foreign file", "tables", "foreign=nowhere.csv", "foreign=nowhere.csv cannot be read: No such file")
asked("tables: beside twice", "tables", "beside=a beside=b", "got beside= 2 times: give one folder")
asked("tables: foreign twice", "tables", "foreign=a foreign=b", "got foreign= 2 times: give one file")


@case(
    "tables: nothing beside",
    "no records below nowhere/records (nowhere is no folder); give a results folder",
    command="tables",
)
def _(world: World) -> list[str]:
    results_folder(world)
    return ["A", "beside=nowhere"]


@case("doctor: a link to itself", "loop does not exist; give a cache directory", command="doctor")
def _(world: World) -> list[str]:
    (world.root / "loop").symlink_to("loop")
    return ["--compare", "loop", "loop"]


@case("list: unknown kind", "unknown list 'methodz' (did you mean 'methods'?)", command="list")
def _(world: World) -> list[str]:
    return ["methodz"]


@CASES.each
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    CASES.check(command, make, expected, world, cli)
