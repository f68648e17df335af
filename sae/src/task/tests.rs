//! The embedded model and a task that it can hardly solve. SmolLM2 on indirect-object identification is an end-to-end test.

use super::*;
use crate::Quiet;
use crate::rows::fixture;
use lm::model::ModelSource;
use storage::task::TaskEdit;

/// A task of words that are one token of the embedded model.
fn small_task(model: &LanguageModel) -> TaskFile {
    let words =
        ["time", "people", "world", "life", "state", "court", "law", "case", "year", "day", "man", "house"];
    let one = |word: &&&str| model.tokenizer().encode(&format!(" {word}")).unwrap().len() == 1;
    let words: Vec<&str> = words.iter().filter(one).copied().collect();
    assert!(words.len() >= 6, "{words:?}");
    let list = words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "name = \"small\"\nanswer = \"a\"\ninstead = \"b\"\nvariant = \"order\"\ndifferent = [[\"a\", \"b\"]]\n\
         [attributes]\na = \"w\"\nb = \"w\"\n[lists]\nw = [{list}]\n\
         [[templates]]\nAB = \"The {{a}} and the {{b}}. Then the {{b}} saw the\"\nBA = \"The {{b}} and the {{a}}. Then the {{b}} saw the\"\n"
    );
    TaskFile::parse(&text, Path::new("small.toml")).unwrap()
}

/// What was at a place is put there again: nothing changes. And what differs in one thing changes what the model says, at the token where
/// it differs and at no token before.
#[test]
fn exchanged_activations_change_what_follows_them() {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let file = small_task(&model);
    let maker = Maker::new(&file, model.tokenizer(), 1).unwrap();
    let prompts = maker.prompts(Split::Test, 20).unwrap();
    for hook in ["blocks.1.hook_resid_post", "blocks.2.hook_mlp_out"] {
        let hook: Hook = hook.parse().unwrap();
        let bench = Bench::new(&model, hook, &prompts, &mut |_| Ok(())).unwrap();
        let clean = bench.clean(&Quiet).unwrap();
        // The model's own pass, one prompt at a time.
        for (prompt, found) in prompts.iter().zip(&clean).take(4) {
            let mut batches = lm::text::pack([Ok((0, prompt.tokens.clone()))], 64, model.bos(), 1).unwrap();
            let contexts = batches.next().unwrap().unwrap();
            let logits = model.forward(&contexts, &mut lm::model::NoTap).unwrap();
            let at = prompt.tokens.len() - 1 + usize::from(model.bos().is_some());
            let row: Vec<f32> = logits.get(0).unwrap().get(at).unwrap().to_vec1().unwrap();
            let [a, b] = prompt.answers.map(|token| f64::from(row[token as usize]));
            assert!((found.difference - (a - b)).abs() < 1e-3, "{hook}: {found:?} {}", a - b);
        }
        for position in 0..maker.positions.len() {
            let own = bench.activations(position).unwrap();
            let same = bench.with(position, &own, &Quiet).unwrap();
            let near = |(a, b): (&Prediction, &Prediction)| (a.difference - b.difference).abs() < 1e-4;
            assert!(same.iter().zip(&clean).all(near), "{hook}, position {position}");
            let zeros = bench.with(position, &vec![0.0; own.len()], &Quiet).unwrap();
            assert!(!zeros.iter().zip(&clean).all(near), "{hook}, position {position}");
        }
    }
}

#[test]
fn a_dictionary_is_measured_next_to_its_ceiling_and_controls() {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let file = small_task(&model);
    let folder = tempfile::tempdir().unwrap();
    let task = folder.path().join("small.toml");
    std::fs::write(&task, toml_of(&file)).unwrap();
    let d = model.config().hidden_size;
    // A dataset that names the model; nobody reads its rows here.
    let texts = fixture::texts(&[8, 8, 8], 60, 1);
    let mut header = fixture::header(d);
    header.hook = Some("blocks.2.hook_resid_post".into());
    header.model = storage::ModelRef { id: model.id().into(), path: None, sha256: model.sha256().into() };
    let data = folder.path().join("data");
    fixture::dataset(&data, header, &texts, &vec![0.0; 24 * d], 1);
    // Every coordinate and its negative: a dictionary without error.
    let mut perfect = fixture::components(2 * d);
    let mut rows = vec![0.0; 2 * d * d];
    (0..d).for_each(|i| (rows[i * d + i], rows[(d + i) * d + i]) = (1.0, -1.0));
    (perfect.d_in, perfect.w_enc, perfect.w_dec, perfect.b_dec) = (d, rows.clone(), rows, vec![0.0; d]);
    let path = fixture::run(&folder.path().join("run"), &perfect, &data);
    let mut about = storage::RunRecord::read(&path).unwrap();
    about.hook = "blocks.2.hook_resid_post".into();
    about.write(&path).unwrap();

    let options = TaskOptions {
        train: 80,
        test: 24,
        model: ModelChoice::Source(ModelSource::Default),
        position: Some("last".into()),
        ..TaskOptions::new(task.display().to_string())
    };
    let record = run(&path, &options, &mut Quiet).unwrap();
    let kept = TaskRecord::read(&path, "small").unwrap();
    assert_eq!((kept.results.len(), &kept.position, kept.test_prompts), (4, &record.position, 24));
    let names: Vec<&str> = record.results.iter().map(|result| result.dictionary.as_str()).collect();
    assert_eq!(names, ["run", "supervised", "random rows", "permuted decoder"]);
    let own = &record.results[0];
    let value = |figure: Option<storage::task::TaskFigure>| figure.unwrap().value;
    assert!(
        (value(own.sufficiency) - 1.0).abs() < 1e-4 && (value(own.necessity) - 1.0).abs() < 1e-3,
        "{own:?}"
    );
    assert!((own.fve.unwrap() - 1.0).abs() < 1e-6 && own.labels.len() == 3);
    for attribute in ["a", "b", "order"] {
        let edits: Vec<&TaskEdit> = own.edits.iter().filter(|edit| edit.attribute == attribute).collect();
        assert_eq!(edits.iter().map(|edit| edit.k).collect::<Vec<_>>(), [0, 1, 4, 16, 64]);
        assert!(edits.windows(2).all(|pair| pair[1].distance <= pair[0].distance + 1e-9), "{attribute}");
        assert!((edits[0].distance - 1.0).abs() < 1e-9 && edits[4].distance < edits[1].distance);
    }
    // With a feature for every coordinate the edit of all of them is the exchange itself.
    let all = run(&path, &TaskOptions { train: 2, ..options.clone() }, &mut Quiet).unwrap();
    assert_eq!(all.sites, record.sites);
    let alone = run(&path, &TaskOptions { controls: false, ..options.clone() }, &mut Quiet).unwrap();
    assert_eq!(alone.results, record.results[..2], "what is measured without controls is the same");
    // Several at once are what each is alone, and are kept.
    let other = fixture::run(&folder.path().join("other"), &fixture::components(d), &data);
    about.write(&other).unwrap();
    let several = run_all(&[path.clone(), other.clone()], &options, &mut Quiet).unwrap();
    assert_eq!(several[0], record);
    assert_eq!(several[1], run(&other, &options, &mut Quiet).unwrap());
    let kept = TaskRecord::read(&other, "small").unwrap();
    assert_eq!(kept.dictionary_sha256, several[1].dictionary_sha256);
    assert_ne!(several[1].results[0], record.results[0]);
    elsewhere_is_refused(folder.path(), &path, &options);
    let permuted = &record.results[3];
    assert!(permuted.fve.unwrap() < 0.5 && permuted.control && !own.control);
    let wrong = TaskOptions { position: Some("c 1".into()), ..options };
    let error = run(&path, &wrong, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("`c 1`") && error.contains("b 2"), "{error}");
}

/// A dictionary of a different hook is not measured next to others.
fn elsewhere_is_refused(folder: &Path, run: &Path, options: &TaskOptions) {
    let texts = fixture::texts(&[8, 8, 8], 60, 1);
    let mut header = fixture::header(4);
    header.hook = Some("blocks.1.hook_resid_post".into());
    let data = folder.join("elsewhere-data");
    fixture::dataset(&data, header, &texts, &[0.0; 24 * 4], 1);
    let elsewhere = fixture::run(&folder.join("elsewhere"), &fixture::components(4), &data);
    let mut about = storage::RunRecord::read(&elsewhere).unwrap();
    about.hook = "blocks.1.hook_resid_post".into();
    about.write(&elsewhere).unwrap();
    let error = run_all(&[run.to_owned(), elsewhere], options, &mut Quiet).unwrap_err().to_string();
    assert!(
        error.contains("blocks.2.hook_resid_post") && error.contains("blocks.1.hook_resid_post"),
        "{error}"
    );
}

/// The file again, as a user would write it.
fn toml_of(file: &TaskFile) -> String {
    let list = file.lists["w"].iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
    let template =
        file.templates[0].iter().map(|(key, text)| format!("{key} = \"{text}\"")).collect::<Vec<_>>();
    format!(
        "name = \"small\"\nanswer = \"a\"\ninstead = \"b\"\nvariant = \"order\"\ndifferent = [[\"a\", \"b\"]]\n\
         [attributes]\na = \"w\"\nb = \"w\"\n[lists]\nw = [{list}]\n[[templates]]\n{}\n",
        template.join("\n")
    )
}
