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
  const double rate =
      result.seconds > 0.0 ? static_cast<double>(result.seen_tokens) / result.seconds : 0.0;
  out += say(lang,
             Word::kTrainDone,
             paint(call.screen, Paint::kTitle, clean(recipe.name)),
             large(result.parameters),
             result.state.step,
             large(result.state.tokens),
             rate) +
         '\n';
  const auto loss = [&](Word word, const std::vector<train::Point>& points) {
    if (points.empty()) return;
    out += "  " + say(lang, word, points.back().loss, 100.0 * points.back().accuracy) + '\n';
  };
  const bool squares = recipe.objective == train::Objective::kMoving;
  loss(squares ? Word::kTrainSquares : Word::kTrainLoss, result.state.train);
  loss(squares ? Word::kTrainValidSquares : Word::kTrainValidLoss, result.state.valid);
  if (result.test) loss(Word::kTrainTestLoss, {*result.test});
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

/// The curves of the last run of each folder.
std::vector<train::Curve> curves_of(const std::vector<std::string>& folders, Lang lang) {
  std::vector<train::Curve> curves;
  for (const std::string& folder : folders) {
    const fs::path file =
        fs::is_directory(folder) ? fs::path(folder) / "runs.sqlite" : fs::path(folder);
    const train::RunStore store(file, true);
    const std::vector<train::RunRecord> runs = store.runs();
    if (runs.empty()) throw Error(ErrorCode::kNotFound, say(lang, Word::kTrainNoPoints, folder));
    const train::RunRecord& run = runs.back();
    for (const char* kind : {"train", "valid"}) {
      train::Curve curve{fmt::format("{} {}", run.name, kind), store.points(run.id, kind)};
      if (!curve.points.empty()) curves.push_back(std::move(curve));
    }
  }
  if (curves.empty()) {
    throw Error(ErrorCode::kNotFound, say(lang, Word::kTrainNoPoints, folders.front()));
  }
  return curves;
}

int plot(const Call& call,
         const std::vector<std::string>& folders,
         const std::string& output,
         std::string& out) {
  const Lang lang = call.screen.lang;
  const std::vector<train::Curve> curves = curves_of(folders, lang);
  if (!output.empty()) {
    write_file(output,
               std::string_view(train::loss_svg(
                   curves, text(lang, Word::kPlotTokens), text(lang, Word::kPlotLoss))));
  }
  if (call.json) {
    JsonWriter json;
    json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "train");
    json.key("curves").begin_array();
    for (const train::Curve& curve : curves) {
      json.begin_object().field("name", curve.name).key("points").begin_array();
      for (const train::Point& p : curve.points) {
        json.begin_object().field("step", p.step).field("tokens", p.tokens).field("loss", p.loss);
        json.field("accuracy", p.accuracy).field("learning_rate", p.learning_rate).end_object();
      }
      json.end_array().end_object();
    }
    json.end_array().end_object();
    out += std::move(json).take();
    return 0;
  }
  constexpr int kHeight = 14;
  out += std::string(text(lang, Word::kPlotLoss)) + '\n';
  out += train::loss_text(curves, std::min(call.screen.width, 100), kHeight);
  for (std::size_t i = 0; i < curves.size(); ++i) {
    constexpr std::string_view kMarks = "ox+";
    const train::Point& last = curves[i].points.back();
    out += fmt::format("  {} {}  {:.4f}\n",
                       i == 0 ? std::string("⣀") : std::string(1, kMarks[(i - 1) % 3]),
                       clean(curves[i].name),
                       last.loss);
  }
  return 0;
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
  const bool fits = plots ? !words.empty() : words.size() == 1 && !output.empty();
  if (!fits) {
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kTrainNeedsRecipe, words.size(), output.empty() ? "-" : output));
  }
  if (plots) return plot(call, words, output, out);
  options.folder = output;
  return train_recipe(call, words[0], data, options, out);
}

}  // namespace headscope::cli
