// `headscope doctor patch`: which heads carry an answer.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "cli/doctor.h"
#include "cli/experiment.h"
#include "cli/json_writer.h"
#include "cli/subject.h"
#include "doctor/gradients.h"
#include "doctor/patch.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string clean_text, corrupt, right, wrong, to, by, exact, top, save;
};

constexpr std::array kParts = {
    doctor::Patch::kFindings, doctor::Patch::kQuery, doctor::Patch::kKey, doctor::Patch::kValue};
constexpr std::array<std::string_view, 4> kNames = {"findings", "query", "key", "value"};
constexpr std::array kWords = {
    Word::kPatchFindings, Word::kPatchQuery, Word::kPatchKey, Word::kPatchValue};

struct Found {
  std::vector<doctor::Patching> parts;  ///< of kParts, or one along a path
  std::vector<std::size_t> which;       ///< which of kParts
  std::optional<doctor::HeadId> to;
  std::string no_gradients;  ///< why nothing was foretold
  std::string no_parts;      ///< why there are findings alone
};

// Of the heads that were patched exactly.
std::optional<doctor::Agreement> agreement_of(const doctor::Patching& part) {
  std::vector<double> foretold, exact;
  for (const doctor::Patched& one : part.heads) {
    if (!one.foretold || std::isnan(one.restored)) continue;
    foretold.push_back(*one.foretold);
    exact.push_back(one.restored);
  }
  if (exact.empty()) return std::nullopt;
  return doctor::agreement(foretold, exact);
}

std::vector<Tensor> slopes_of(const doctor::Baseline& corrupt,
                              const doctor::Judge& by,
                              std::string& why_not) {
  try {
    return doctor::Gradients(corrupt.model()).of(corrupt, by);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    why_not = error.what();
    return {};
  }
}

Found run_patches(const Call& call,
                  const doctor::Baseline& clean_run,
                  const doctor::Baseline& corrupt,
                  const doctor::Judge& by,
                  const Options& o,
                  std::size_t exact) {
  Progress progress(call.screen.lang, std::string(text(call.screen.lang, Word::kDoctorPatching)));
  const auto told = telling(progress, call, Word::kDoctorPatching);
  Found out;
  if (!o.to.empty()) {
    const HeadId to = parse_head(call, "--to", o.to);
    check_head(call, corrupt.model(), to);
    out.to = to;
    out.which = {parse_choice(call, "--by", o.by, kNames)};
    out.parts.push_back(doctor::patch_path(clean_run, corrupt, to, kParts[out.which[0]], by, told));
    return out;
  }
  const std::vector<Tensor> slopes = slopes_of(corrupt, by, out.no_gradients);
  doctor::PatchOptions options;
  options.exact = exact;
  if (!slopes.empty()) options.slopes = &slopes;
  for (std::size_t i = 0; i < kParts.size(); ++i) {
    options.told = [&](std::int64_t done, std::int64_t of) {
      told(static_cast<std::int64_t>(i) * of + done, 4 * of);
    };
    try {
      out.parts.push_back(doctor::patch(clean_run, corrupt, kParts[i], by, options));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnsupported || kParts[i] == doctor::Patch::kFindings) throw;
      out.no_parts = error.what();
      continue;
    }
    out.which.push_back(i);
  }
  return out;
}

std::string cell(double share) { return std::isnan(share) ? "-" : fmt::format("{:+.4f}", share); }

std::string render(const Screen& screen, const Found& found, const Options& o, std::size_t top) {
  const Lang lang = screen.lang;
  const doctor::Patching& first = found.parts.front();
  std::vector<std::size_t> order(first.heads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // What is exact before what is foretold.
  const auto weight = [&](std::size_t i) {
    const doctor::Patched& one = first.heads[i];
    const bool known = !std::isnan(one.restored);
    return std::pair(known, std::abs(known ? one.restored : one.foretold.value_or(0.0)));
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return weight(a) > weight(b);
  });
  order.resize(std::min(order.size(), top));
  std::string out =
      "\n" + paint(screen, Paint::kTitle, "  " + std::string(text(lang, Word::kPatchTitle))) + '\n';
  const auto note = [&](std::string_view line) {
    out += paint(screen, Paint::kDim, "  " + wrap(line, screen.width, 2)) + '\n';
  };
  note(say(lang,
           Word::kPatchMeasure,
           figure(first.clean),
           figure(first.corrupt),
           clean(o.right),
           clean(o.wrong)));
  if (found.to) {
    note(say(lang, Word::kPatchPath, found.to->name(), text(lang, kWords[found.which.front()])));
  }
  out += "  " + left(std::string(text(lang, Word::kRankHead)), 9);
  for (const std::size_t part : found.which)
    out += right(std::string(text(lang, kWords[part])), 11);
  const bool foretold = !first.heads.empty() && first.heads.front().foretold.has_value();
  if (foretold) out += right(std::string(text(lang, Word::kPatchForetold)), 11);
  out += '\n';
  for (const std::size_t i : order) {
    out += "  " + left(first.heads[i].head.name(), 9);
    for (const doctor::Patching& part : found.parts) out += right(cell(part.heads[i].restored), 11);
    if (foretold) out += right(cell(*first.heads[i].foretold), 11);
    out += '\n';
  }
  note(text(lang, Word::kPatchNote));
  if (foretold) note(text(lang, Word::kPatchForetoldNote));
  for (std::size_t p = 0; p < found.parts.size(); ++p) {
    if (const auto both = agreement_of(found.parts[p])) {
      note(say(lang,
               Word::kPatchAgreement,
               text(lang, kWords[found.which[p]]),
               fmt::format("{:.2f}", both->correlation),
               fmt::format("{:.4f}", both->largest)));
    }
  }
  if (!found.no_gradients.empty()) note(say(lang, Word::kRankNoGradients, found.no_gradients));
  if (!found.no_parts.empty()) note(say(lang, Word::kPatchNoParts, found.no_parts));
  return tidy(out);
}

// A share that is not known is left out.
void put(JsonWriter& json, std::string_view name, double share) {
  if (!std::isnan(share)) json.field(name, share);
}

std::string as_json(const Model& model, const Found& found, const Options& o) {
  JsonWriter json;
  const doctor::Patching& first = found.parts.front();
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor patch");
  json.field("model", model.name()).field("clean", first.clean).field("corrupt", first.corrupt);
  json.field("clean_text", o.clean_text).field("corrupt_text", o.corrupt);
  json.field("right", o.right).field("wrong", o.wrong);
  if (found.to) json.field("to", found.to->name()).field("by", kNames[found.which.front()]);
  if (!found.no_parts.empty()) json.field("left_out", found.no_parts);
  json.key("heads").begin_array();
  for (std::size_t i = 0; i < first.heads.size(); ++i) {
    json.begin_object().field("layer", first.heads[i].head.layer);
    json.field("head", first.heads[i].head.head);
    for (std::size_t p = 0; p < found.parts.size(); ++p)
      put(json, kNames[found.which[p]], found.parts[p].heads[i].restored);
    if (first.heads[i].foretold) {
      json.key("foretold").begin_object();
      for (std::size_t p = 0; p < found.parts.size(); ++p)
        json.field(kNames[found.which[p]], *found.parts[p].heads[i].foretold);
      json.end_object();
    }
    json.end_object();
  }
  json.end_array();
  for (std::size_t p = 0; p < found.parts.size(); ++p) {
    const auto both = agreement_of(found.parts[p]);
    if (!both) continue;
    if (p == 0) json.key("foretold_against_exact").begin_object();
    json.key(kNames[found.which[p]]).begin_object();
    json.field("correlation", both->correlation).field("largest", both->largest).end_object();
    if (p + 1 == found.parts.size()) json.end_object();
  }
  json.end_object();
  return std::move(json).take();
}

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("--clean", o.clean_text);
  parser.option("--corrupt", o.corrupt);
  parser.option("--right", o.right);
  parser.option("--wrong", o.wrong);
  parser.option("--to", o.to);
  parser.option("--by", o.by);
  parser.option("--exact", o.exact);
  parser.option("--top", o.top);
  parser.option("--save", o.save);
}

void check(const Call& call, const Options& o) {
  for (const auto& [name, value] : {std::pair{"--clean", &o.clean_text},
                                    std::pair{"--corrupt", &o.corrupt},
                                    std::pair{"--right", &o.right},
                                    std::pair{"--wrong", &o.wrong}}) {
    if (value->empty() && o.words.size() == 1)
      throw Error(ErrorCode::kUsage,
                  say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, name));
  }
  if (o.to.empty() && !o.by.empty())
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, "--to"));
  (void)parse_choice(call, "--by", o.by, kNames);
  if (!o.exact.empty() && !o.to.empty())
    throw Error(ErrorCode::kUsage, say(call.screen.lang, Word::kPatchExactOrPath, call.verb));
  if (!o.save.empty()) check_writable(call, o.save);
}

void save(const Call& call, const Options& o, const Model& model, const Found& found) {
  Experiment done{call.verb, o.words.front(), {}, "", as_json(model, found, o), {}};
  for (const auto& [name, value] : {std::pair{"--clean", &o.clean_text},
                                    std::pair{"--corrupt", &o.corrupt},
                                    std::pair{"--right", &o.right},
                                    std::pair{"--wrong", &o.wrong},
                                    std::pair{"--to", &o.to},
                                    std::pair{"--by", &o.by},
                                    std::pair{"--exact", &o.exact}}) {
    if (!value->empty()) done.arguments.push_back(std::string(name) + '=' + *value);
  }
  save_experiment(o.save, done);
}

}  // namespace

int doctor_patch(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor patch", lang);
  declare(parser, o);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorPatch);
    return 0;
  }
  check(call, o);
  const auto top = static_cast<std::size_t>(
      o.top.empty() ? 20 : parse_integer(call, "--top", o.top, 1, 1'000'000));
  const std::size_t exact =
      o.exact.empty()
          ? SIZE_MAX
          : static_cast<std::size_t>(parse_integer(call, "--exact", o.exact, 1, 1'000'000));
  const Model model = load_model(call, o.words, Purpose::kSweep);
  doctor::Judge by;
  by.kind = doctor::Judge::Kind::kChoice;
  by.right = one_token(call, model, "--right", o.right);
  by.wrong = one_token(call, model, "--wrong", o.wrong);
  const Tokens good = model.tokens(o.clean_text);
  const Tokens bad = model.tokens(o.corrupt);
  doctor::check_aligned(model, good, bad);
  const doctor::Baseline clean_run(model, doctor::copy_of(good));
  const doctor::Baseline corrupt(model, doctor::copy_of(bad));
  const Found found = run_patches(call, clean_run, corrupt, by, o, exact);
  if (!o.save.empty()) save(call, o, model, found);
  out += call.json ? as_json(model, found, o) : render(call.screen, found, o, top);
  return 0;
}

}  // namespace headscope::cli
