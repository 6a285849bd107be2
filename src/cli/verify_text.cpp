#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cli/json_writer.h"
#include "cli/verify.h"

namespace headscope::cli {

namespace {
std::string error_figure(double x) { return std::isnan(x) ? "nan" : fmt::format("{:.1e}", x); }

std::string problem_words(const Screen& screen, const Compared& c) {
  if (c.problem == "missing") return say(screen.lang, Word::kNotComputed);
  if (c.problem == "empty") return say(screen.lang, Word::kNothingCompared);
  if (c.problem == "leak") return say(screen.lang, Word::kLeak);
  return c.problem.empty() ? "" : say(screen.lang, Word::kOtherShape, c.problem);
}

double largest_error(const Verdict& verdict) {
  double out = 0.0;
  for (const Compared& c : verdict.tensors) {
    if (!(c.error <= out)) out = c.error;
  }
  return out;
}

std::string folder_name(const Verdict& verdict) {
  const auto path = std::filesystem::path(verdict.folder).lexically_normal();
  const auto name = path.filename().empty() ? path.parent_path().filename() : path.filename();
  return clean(name.empty() ? verdict.folder : name.string());
}

std::string tensor_lines(const Screen& screen, const Verdict& verdict) {
  int name = 8;
  int shape = 6;
  for (const Compared& c : verdict.tensors) {
    name = std::max(name, columns(clean(c.tensor)));
    shape = std::max(shape, columns(to_string(c.shape)));
  }
  name = std::min(name, 24);
  shape = std::min(shape, 20);
  const std::string head =
      "  " + left(say(screen.lang, Word::kTensor), name + 1) +
      left(say(screen.lang, Word::kShape), shape) + right(say(screen.lang, Word::kError), 9) +
      right(say(screen.lang, Word::kRelative), 10) + right(say(screen.lang, Word::kAllowed), 10) +
      "  " + say(screen.lang, Word::kVerdict);
  std::string out = paint(screen, Paint::kDim, clip(head, screen.width)) + '\n';
  for (const Compared& c : verdict.tensors) {
    out += "  " + left(clip(clean(c.tensor), name), name + 1) +
           left(clip(to_string(c.shape), shape), shape) + right(error_figure(c.error), 9) +
           right(error_figure(c.relative), 10) +
           right(c.tolerance > 0.0 ? error_figure(c.tolerance) : "", 10) + "  " +
           paint(screen,
                 c.ok ? Paint::kGood : Paint::kBad,
                 say(screen.lang, c.ok ? Word::kOk : Word::kOff)) +
           '\n';
    if (!c.problem.empty()) {
      out += "    " + wrap(problem_words(screen, c), screen.width, 4) + '\n';
    }
  }
  return out;
}
}  // namespace

std::string render_verdict(const Screen& screen, const Verdict& verdict) {
  std::string head = folder_name(verdict) + "  " + verdict.config;
  if (!verdict.error.empty()) {
    const std::string why = say(screen.lang, Word::kCannotRun, clean(verdict.error));
    return paint(screen, Paint::kTitle, clip(head, screen.width)) + "\n  " +
           paint(screen, Paint::kBad, wrap(why, screen.width, 2)) + '\n';
  }
  const std::string sum = say(screen.lang,
                              Word::kAgreeing,
                              verdict.agreeing(),
                              verdict.tensors.size(),
                              error_figure(largest_error(verdict)));
  // The same model in other words: its table says nothing new, unless something is off.
  if (verdict.config != "config.json" && verdict.ok()) {
    return paint(screen, Paint::kTitle, clip(head, screen.width)) + "\n  " + sum + '\n';
  }
  if (!verdict.model_class.empty()) head += "  " + clean(verdict.model_class);
  if (verdict.allowance.noise)
    head += "  " + say(screen.lang, Word::kNoise, error_figure(*verdict.allowance.noise));
  return paint(screen, Paint::kTitle, clip(head, screen.width)) + '\n' +
         tensor_lines(screen, verdict) + "  " + sum + '\n';
}

std::string render_summary(const Screen& screen, const std::vector<Verdict>& verdicts) {
  std::size_t agree = 0;
  std::size_t off = 0;
  std::size_t failed = 0;
  for (const Verdict& verdict : verdicts) {
    if (!verdict.error.empty()) {
      ++failed;
    } else if (verdict.ok()) {
      ++agree;
    } else {
      ++off;
    }
  }
  return '\n' + say(screen.lang, Word::kVerifySummary, verdicts.size(), agree, off, failed) + '\n';
}

std::string verify_json(const std::vector<Verdict>& verdicts) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "verify");
  json.key("runs").begin_array();
  bool all = true;
  for (const Verdict& verdict : verdicts) {
    all = all && verdict.ok();
    json.begin_object().field("folder", verdict.folder).field("config", verdict.config);
    json.field("model_class", verdict.model_class).field("ok", verdict.ok());
    if (!verdict.error.empty()) json.field("error", verdict.error);
    json.key("tensors").begin_array();
    for (const Compared& c : verdict.tensors) {
      json.begin_object().field("tensor", c.tensor);
      json.array("shape", std::span<const std::int64_t>(c.shape));
      json.field("error", c.error).field("relative", c.relative).field("tolerance", c.tolerance);
      json.field("ok", c.ok).field("problem", c.problem).end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().field("ok", all).end_object();
  return std::move(json).take();
}

}  // namespace headscope::cli
