// `headscope doctor patch`: which heads carry an answer.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/subject.h"
#include "doctor/patch.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string clean_text, corrupt, right, wrong, to, by, top;
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
};

std::size_t part_of(const Call& call, const std::string& word) {
  if (word.empty()) return 0;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (word == kNames[i]) return i;
  }
  throw Error(ErrorCode::kUsage,
              say(call.screen.lang,
                  Word::kExpectedFound,
                  call.verb,
                  "--by",
                  "findings | query | key | value",
                  clean(word)));
}

Found run_patches(const Call& call,
                  const doctor::Baseline& clean_run,
                  const doctor::Baseline& corrupt,
                  const doctor::Judge& by,
                  const Options& o) {
  Progress progress{std::string(text(call.screen.lang, Word::kDoctorPatching))};
  const auto told = telling(progress, call, Word::kDoctorPatching);
  Found out;
  if (!o.to.empty()) {
    const HeadId to = parse_head(call, "--to", o.to);
    check_head(call, corrupt.model(), to);
    out.to = to;
    out.which = {part_of(call, o.by)};
    out.parts.push_back(doctor::patch_path(clean_run, corrupt, to, kParts[out.which[0]], by, told));
    return out;
  }
  for (std::size_t i = 0; i < kParts.size(); ++i) {
    const auto step = [&](std::int64_t done, std::int64_t of) {
      told(static_cast<std::int64_t>(i) * of + done, 4 * of);
    };
    out.parts.push_back(doctor::patch(clean_run, corrupt, kParts[i], by, step));
    out.which.push_back(i);
  }
  return out;
}

std::string render(const Screen& screen, const Found& found, const Options& o, std::size_t top) {
  const Lang lang = screen.lang;
  const doctor::Patching& first = found.parts.front();
  std::vector<std::size_t> order(first.heads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(first.heads[a].restored) > std::abs(first.heads[b].restored);
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
  out += '\n';
  for (const std::size_t i : order) {
    out += "  " + left(first.heads[i].head.name(), 9);
    for (const doctor::Patching& part : found.parts)
      out += right(fmt::format("{:+.4f}", part.heads[i].restored), 11);
    out += '\n';
  }
  note(text(lang, Word::kPatchNote));
  return tidy(out);
}

std::string as_json(const Model& model, const Found& found) {
  JsonWriter json;
  const doctor::Patching& first = found.parts.front();
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor patch");
  json.field("model", model.name()).field("clean", first.clean).field("corrupt", first.corrupt);
  if (found.to) json.field("to", found.to->name());
  json.key("heads").begin_array();
  for (std::size_t i = 0; i < first.heads.size(); ++i) {
    json.begin_object().field("layer", first.heads[i].head.layer);
    json.field("head", first.heads[i].head.head);
    for (std::size_t p = 0; p < found.parts.size(); ++p)
      json.field(kNames[found.which[p]], found.parts[p].heads[i].restored);
    json.end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

}  // namespace

int doctor_patch(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor patch", lang);
  parser.positionals(o.words);
  parser.option("--clean", o.clean_text);
  parser.option("--corrupt", o.corrupt);
  parser.option("--right", o.right);
  parser.option("--wrong", o.wrong);
  parser.option("--to", o.to);
  parser.option("--by", o.by);
  parser.option("--top", o.top);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorPatch);
    return 0;
  }
  for (const auto& [name, value] : {std::pair{"--clean", &o.clean_text},
                                    std::pair{"--corrupt", &o.corrupt},
                                    std::pair{"--right", &o.right},
                                    std::pair{"--wrong", &o.wrong}}) {
    if (value->empty() && o.words.size() == 1)
      throw Error(ErrorCode::kUsage, say(lang, Word::kDoctorNeedsOption, call.verb, name));
  }
  if (o.to.empty() && !o.by.empty())
    throw Error(ErrorCode::kUsage, say(lang, Word::kDoctorNeedsOption, call.verb, "--to"));
  (void)part_of(call, o.by);
  const auto top = static_cast<std::size_t>(
      o.top.empty() ? 20 : parse_integer(call, "--top", o.top, 1, 1'000'000));
  const Model model = load_model(call, o.words, Purpose::kSweep);
  doctor::Judge by;
  by.kind = doctor::Judge::Kind::kChoice;
  by.right = one_token(call, model, "--right", o.right);
  by.wrong = one_token(call, model, "--wrong", o.wrong);
  const Tokens good = model.tokens(o.clean_text);
  const Tokens bad = model.tokens(o.corrupt);
  doctor::check_aligned(model, good, bad);
  const doctor::Baseline clean_run(model, model.tokens(o.clean_text));
  const doctor::Baseline corrupt(model, model.tokens(o.corrupt));
  const Found found = run_patches(call, clean_run, corrupt, by, o);
  out += call.json ? as_json(model, found) : render(call.screen, found, o, top);
  return 0;
}

}  // namespace headscope::cli
