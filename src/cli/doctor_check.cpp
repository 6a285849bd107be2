// `headscope doctor check`: which head is broken.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "doctor/check.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string against, data, pieces, top;
};

Word word_of(doctor::Reason reason) {
  static constexpr Word kWords[] = {Word::kWhyNotFinite,
                                    Word::kWhySilent,
                                    Word::kWhyConstant,
                                    Word::kWhyLooks,
                                    Word::kWhySays,
                                    Word::kWhyWrites,
                                    Word::kWhyCollapsed,
                                    Word::kWhyLoud,
                                    Word::kWhyQuiet,
                                    Word::kWhyFlat};
  return kWords[static_cast<std::size_t>(reason)];
}

std::string percent(double x) {
  return std::isfinite(x) ? fmt::format("{:.1f} %", 100 * x) : std::string("inf");
}

std::string render(const Screen& screen,
                   const doctor::Checkup& found,
                   bool against,
                   std::size_t top) {
  const Lang lang = screen.lang;
  std::string out =
      "\n" + paint(screen, Paint::kTitle, "  " + std::string(text(lang, Word::kCheckTitle))) + '\n';
  const auto note = [&](std::string_view line) {
    out += paint(screen, Paint::kDim, "  " + wrap(line, screen.width, 2)) + '\n';
  };
  std::vector<doctor::Suspect> shown = found.suspects;
  if (!against) {
    std::erase_if(shown, [](const doctor::Suspect& s) { return s.score < doctor::kStandsOut; });
    note(say(lang, Word::kCheckAlone, doctor::kStandsOut));
  }
  if (shown.empty()) {
    out += "  " +
           (against ? say(lang, Word::kCheckSame, doctor::kDiffers)
                    : std::string(text(lang, Word::kCheckWell))) +
           '\n';
    return out;
  }
  if (against) {
    const auto first = std::min_element(
        shown.begin(), shown.end(), [](const doctor::Suspect& a, const doctor::Suspect& b) {
          return a.head < b.head;
        });
    note(say(lang, Word::kCheckApart, first->head.layer, first->head.head, percent(found.damage)));
  }
  const auto title = [&](Word w) { return right(std::string(text(lang, w)), 13); };
  out += "  " + left(std::string(text(lang, Word::kRankHead)), 9) +
         (against ? title(Word::kCheckExplains) + title(Word::kCheckDiffers)
                  : title(Word::kCheckScore)) +
         "  " + std::string(text(lang, Word::kCheckReason)) + '\n';
  shown.resize(std::min(shown.size(), top));
  for (const doctor::Suspect& s : shown) {
    out += "  " + left(s.head.name(), 9);
    out += against ? right(percent(s.score), 13) + right(percent(s.differs), 13)
                   : right(figure(s.score), 13);
    out += "  " + std::string(text(lang, word_of(s.reason))) + '\n';
  }
  if (against) note(text(lang, Word::kCheckNote));
  return tidy(out);
}

std::string as_json(const Model& model, const doctor::Checkup& found, const std::string& against) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor check");
  json.field("model", model.name());
  if (!against.empty()) json.field("against", against).field("damage", found.damage);
  json.key("ranking").begin_array();
  for (const doctor::Suspect& s : found.suspects) {
    json.begin_object().field("layer", s.head.layer).field("head", s.head.head);
    json.field("score", s.score);
    if (!against.empty()) json.field("differs", s.differs);
    json.field("reason", doctor::name(s.reason)).end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

}  // namespace

int doctor_check(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor check", lang);
  parser.positionals(o.words);
  parser.option("--against", o.against);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--top", o.top);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorCheck);
    return 0;
  }
  const auto top = static_cast<std::size_t>(
      o.top.empty() ? 10 : parse_integer(call, "--top", o.top, 1, 1'000'000));
  const std::int64_t most =
      o.pieces.empty() ? 2 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  const Model model = load_model(call, o.words, Purpose::kCheck);
  const Corpus corpus = read_corpus(call, model, o.data, most);
  doctor::Checkup found;
  if (o.against.empty()) {
    Progress progress(lang, std::string(text(lang, Word::kDoctorLooking)));
    found = doctor::check(model, corpus.pieces, telling(progress, call, Word::kDoctorLooking));
  } else {
    const Model healthy = load_model(call, std::vector<std::string>{o.against}, Purpose::kLook);
    Progress progress(lang, std::string(text(lang, Word::kDoctorChecking)));
    found = doctor::check(
        model, healthy, corpus.pieces, telling(progress, call, Word::kDoctorChecking));
  }
  out += call.json ? as_json(model, found, o.against)
                   : render(call.screen, found, !o.against.empty(), top);
  return 0;
}

}  // namespace headscope::cli
