#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "cli/signals.h"
#include "cli/train_watch.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "train/loop.h"
#include "train/plot.h"
#include "train/runs.h"

/// `headscope train`: a model from a recipe, and the loss curves of runs.
namespace headscope::cli {

namespace {
namespace fs = std::filesystem;
using train::RunReport;

void write_json(std::string& out, const train::Recipe& recipe, const train::RunResult& result) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "train");
  json.field("name", recipe.name).field("parameters", result.parameters);
  json.field("step", result.state.step).field("tokens", result.state.tokens);
  json.field("seconds", result.state.seconds).field("skipped", result.skipped);
  if (!result.state.train.empty()) json.field("loss", result.state.train.back().loss);
  if (!result.state.valid.empty()) json.field("valid_loss", result.state.valid.back().loss);
  if (result.test) json.field("test_loss", result.test->loss);
  json.key("borders").begin_object().field("words", result.borders.words);
  json.field("with_ending", result.borders.with_ending).field("kept", result.borders.kept);
  json.field("whole", result.borders.whole).field("tokens", result.borders.tokens).end_object();
  json.end_object();
  out += std::move(json).take();
}

void write_text(std::string& out,
                const Call& call,
                const train::Recipe& recipe,
                const train::RunResult& result) {
  const Lang lang = call.screen.lang;
  out += say(lang,
             Word::kTrainDone,
             paint(call.screen, Paint::kTitle, clean(recipe.name)),
             large(result.parameters),
             result.state.step,
             large(result.state.tokens));
  // A run that was done before has no speed.
  if (result.seen_tokens > 0 && result.seconds > 0.0) {
    const double rate = static_cast<double>(result.seen_tokens) / result.seconds;
    out += say(lang, Word::kTrainRate, rate);
  }
  out += '\n';
  const bool squares = recipe.objective == train::Objective::kMoving;
  const bool numbers = recipe.objective == train::Objective::kTables;
  const std::string_view unit = text(lang, numbers ? Word::kTrainANumber : Word::kTrainALabel);
  const auto loss = [&](Word word, const train::Point& point) {
    out += "  " + say(lang, word, point.loss, unit, 100.0 * point.accuracy) + '\n';
  };
  const auto last = [&](Word word, Word of_squares, const std::vector<train::Point>& points) {
    if (!points.empty()) loss(squares ? of_squares : word, points.back());
  };
  last(Word::kTrainLoss, Word::kTrainSquares, result.state.train);
  last(Word::kTrainValidLoss, Word::kTrainValidSquares, result.state.valid);
  if (result.test) loss(Word::kTrainTestLoss, *result.test);
  if (const auto& borders = result.borders; borders.with_ending > 0) {
    const double kept =
        static_cast<double>(borders.kept) / static_cast<double>(borders.with_ending);
    out += "  " + say(lang, Word::kTrainBorders, large(borders.with_ending), 100.0 * kept) + '\n';
  }
  if (result.skipped > 0) out += "  " + say(lang, Word::kTrainSkipped, result.skipped) + '\n';
}

int train_recipe(const Call& call,
                 const fs::path& path,
                 const fs::path& data,
                 const train::RunOptions& given,
                 std::string& out) {
  const train::Recipe recipe = train::load_recipe(path, data);
  train::RunOptions options = given;
  options.cache = text_cache();
  TrainWatch watch(call.screen.lang, clean(recipe.name));
  options.report = [&](const RunReport& report) { watch.show(report, {}); };
  options.stop = [] { return signal_waits(); };
  const train::RunResult result = train::run_recipe(recipe, options);
  if (result.stopped) watch.stopped(result.state.step, recipe.schedule.steps);
  if (call.json) {
    write_json(out, recipe, result);
  } else {
    write_text(out, call, recipe, result);
  }
  return 0;
}

/// What the losses of a run are numbers of.
Word unit_of(const train::RunRecord& run) {
  const auto objective = train::objective_in(run.recipe);
  if (objective == train::Objective::kMoving) return Word::kPlotLossSquares;
  return objective == train::Objective::kTables ? Word::kPlotLossNumbers : Word::kPlotLoss;
}

fs::path record_of(const std::string& named, Lang lang) {
  std::error_code ignored;
  if (!fs::exists(named, ignored))
    throw Error(ErrorCode::kNotFound, say(lang, Word::kPlotNoFolder, named));
  if (!fs::is_directory(named, ignored)) return named;
  const fs::path file = fs::path(named) / "runs.sqlite";
  if (!fs::exists(file, ignored))
    throw Error(ErrorCode::kNotFound, say(lang, Word::kPlotNoRecord, named));
  return file;
}

struct Curves {
  std::vector<train::Curve> all;
  std::vector<Word> units;  // of each
};

/// The names that tell runs apart: what recipes are called; where several are called the same their folders' names,
/// and where these are the same as well the folders as they were given.
std::vector<std::string> names_of(const std::vector<std::string>& folders,
                                  const std::vector<std::string>& recipes) {
  std::vector<std::string> names;
  for (const std::string& folder : folders) {
    fs::path path = fs::absolute(folder).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();
    if (path.filename() == "runs.sqlite") path = path.parent_path();  // stands for its folder
    names.push_back(path.filename().string());
  }
  std::vector<std::string> out;
  for (std::size_t n = 0; n < folders.size(); ++n) {
    const bool alone = std::count(recipes.begin(), recipes.end(), recipes[n]) == 1;
    const bool apart = std::count(names.begin(), names.end(), names[n]) == 1;
    out.push_back(alone ? recipes[n] : apart ? names[n] : folders[n]);
  }
  return out;
}

/// The curves of the last run of each folder.
Curves curves_of(const std::vector<std::string>& folders, Lang lang) {
  Curves out;
  std::vector<std::string> recipes;
  for (std::size_t n = 0; n < folders.size(); ++n) {
    const train::RunStore store(record_of(folders[n], lang), true);
    const std::vector<train::RunRecord> runs = store.runs();
    if (runs.empty())
      throw Error(ErrorCode::kNotFound, say(lang, Word::kTrainNoPoints, folders[n]));
    const train::RunRecord& run = runs.back();
    recipes.push_back(run.name);
    for (const char* kind : {"train", "valid"}) {
      train::Curve curve{"", store.points(run.id, kind)};
      curve.run = static_cast<int>(n);
      curve.valid = std::string_view(kind) == "valid";
      if (curve.points.empty()) continue;
      out.all.push_back(std::move(curve));
      out.units.push_back(unit_of(run));
    }
  }
  const std::vector<std::string> names = names_of(folders, recipes);
  for (train::Curve& curve : out.all) {
    const std::string& run = names[static_cast<std::size_t>(curve.run)];
    curve.name = say(lang, curve.valid ? Word::kPlotValid : Word::kPlotTrain, run);
  }
  if (out.all.empty()) {
    throw Error(ErrorCode::kNotFound, say(lang, Word::kTrainNoPoints, folders.front()));
  }
  return out;
}

/// The one unit of an axis. Errors: kUsage where there are several.
Word one_unit(const Curves& curves, Lang lang) {
  for (std::size_t i = 1; i < curves.units.size(); ++i) {
    if (curves.units[i] == curves.units[0]) continue;
    throw Error(ErrorCode::kUsage,
                say(lang,
                    Word::kPlotUnits,
                    curves.all[0].name,
                    text(lang, curves.units[0]),
                    curves.all[i].name,
                    text(lang, curves.units[i])));
  }
  return curves.units[0];
}

void write_curves(std::string& out, const Curves& curves, Lang lang) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "train");
  json.key("curves").begin_array();
  for (std::size_t i = 0; i < curves.all.size(); ++i) {
    const train::Curve& curve = curves.all[i];
    json.begin_object().field("name", curve.name).field("unit", text(lang, curves.units[i]));
    json.key("points").begin_array();
    for (const train::Point& p : curve.points) {
      json.begin_object().field("step", p.step).field("tokens", p.tokens).field("loss", p.loss);
      json.field("accuracy", p.accuracy).field("learning_rate", p.learning_rate).end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
  out += std::move(json).take();
}

int plot(const Call& call,
         const std::vector<std::string>& folders,
         const std::string& output,
         std::string& out) {
  const Lang lang = call.screen.lang;
  if (!output.empty() && fs::path(output).extension() != ".svg")
    throw Error(ErrorCode::kUsage, say(lang, Word::kPlotNotSvg, output));
  if (call.json && output.empty()) {  // numbers share no axis; what programs read is English
    write_curves(out, curves_of(folders, Lang::kEn), Lang::kEn);
    return 0;
  }
  const Curves curves = curves_of(folders, lang);
  const std::string_view unit = text(lang, one_unit(curves, lang));
  if (!output.empty()) {
    write_file(output,
               std::string_view(train::loss_svg(curves.all, text(lang, Word::kPlotTokens), unit)));
  }
  if (call.json) {
    write_curves(out, curves_of(folders, Lang::kEn), Lang::kEn);
    return 0;
  }
  constexpr int kHeight = 14;
  out += std::string(unit) + '\n';
  out += train::loss_text(
      curves.all, text(lang, Word::kPlotTokens), std::min(call.screen.width, 100), kHeight);
  for (const train::Curve& curve : curves.all) {
    out += fmt::format(
        "  {} {}  {:.4f}\n", train::mark_of(curve), clean(curve.name), curve.points.back().loss);
  }
  return 0;
}

/// What a call lacks, or has too much of.
std::string wrong_words(const std::vector<std::string>& words, bool output, Lang lang) {
  if (words.size() > 1) return say(lang, Word::kTrainTooMany, fmt::join(words, ", "));
  if (words.empty() && !output) return std::string(text(lang, Word::kTrainNeither));
  return std::string(text(lang, words.empty() ? Word::kTrainNoRecipe : Word::kTrainNoFolder));
}
}  // namespace

int train(std::span<const std::string> arguments, Lang lang, std::string& out) {
  std::vector<std::string> words;
  std::string output, data;
  train::RunOptions options;
  bool plots = false;
  Parser parser("train", lang);
  parser.positionals(words);
  parser.option("-o,--output", output);
  parser.option("--data", data);
  parser.flag("--resume", options.resume);
  parser.flag("--plot", plots);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpTrain);
    return 0;
  }
  if (plots && words.empty()) throw Error(ErrorCode::kUsage, say(lang, Word::kPlotNeedsRun));
  if (!plots && (words.size() != 1 || output.empty())) {
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kTrainNeedsRecipe, wrong_words(words, !output.empty(), lang)));
  }
  if (plots) return plot(call, words, output, out);
  options.folder = output;
  return train_recipe(call, words[0], data, options, out);
}

}  // namespace headscope::cli
