// `headscope doctor roles` of models whose tokens are notes, numbers or patches of videos.
#include <algorithm>
#include <filesystem>

#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/sequences.h"
#include "doctor/sequence_roles.h"
#include "headscope/error.h"
#include "headscope/forecast.h"
#include "models/network.h"
#include "models/patches.h"

namespace headscope::cli {

namespace {

using doctor::Pointing;

struct Name {
  std::string_view name;
  Word word;
  std::string_view letter, shape;
};
constexpr Name kNames[] = {{"voice", Word::kSeqVoice, "V", "circle"},
                           {"step", Word::kSeqStep, "S", "circle"},
                           {"beat", Word::kSeqBeat, "B", "circle"},
                           {"bar", Word::kSeqBar, "R", "circle"},
                           {"together", Word::kSeqTogether, "T", "square"},
                           {"octave", Word::kSeqOctave, "8", "triangle"},
                           {"third", Word::kSeqThird, "3", "triangle"},
                           {"fourth", Word::kSeqFourth, "4", "triangle"},
                           {"fifth", Word::kSeqFifth, "5", "triangle"},
                           {"sixth", Word::kSeqSixth, "6", "triangle"},
                           {"period", Word::kSeqPeriod, "P", "circle"},
                           {"phase", Word::kSeqPhase, "H", "circle"},
                           {"previous", Word::kSeqPrevious, "B", "circle"},
                           {"follow", Word::kSeqFollow, "F", "square"},
                           {"place", Word::kSeqPlace, "P", "circle"},
                           {"side", Word::kSeqSide, "S", "circle"},
                           {"above", Word::kSeqAbove, "A", "circle"}};

const Name& name_of(const Pointing& pointing) {
  return *std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& name) {
    return name.name == pointing.name;
  });
}

// What was measured, and on what.
struct Measured {
  std::vector<Pointing> pointings;
  std::string about_en, about_ru;
  bool foretells = true;
};

std::string both(Lang lang, const Measured& m) {
  return lang == Lang::kRu ? m.about_ru : m.about_en;
}

template <typename... Args>
void about(Measured& m, Word word, const Args&... args) {
  m.about_en = say(Lang::kEn, word, args...);
  m.about_ru = say(Lang::kRu, word, args...);
}

Measured measure_tunes(const Model& model,
                       const NoteCode& code,
                       const std::string& data,
                       std::size_t most) {
  std::vector<Score> scores = read_scores(data, "test", code);
  scores.resize(std::min(scores.size(), most));
  std::vector<std::vector<std::int32_t>> tunes;
  int beats = 4;
  for (const Score& score : scores) {
    beats = score.beats_per_bar;
    tunes.push_back(ids_of(score, code));
    tunes.back().resize(std::min(tunes.back().size(), static_cast<std::size_t>(model.positions())));
  }
  Measured out;
  out.pointings = doctor::tune_pointings(model, code, tunes, beats);
  about(out,
        Word::kSequenceTunes,
        clean(std::filesystem::path(data).filename().string()),
        tunes.size());
  return out;
}

Measured measure_table(const Call& call,
                       const Model& model,
                       const NumberCode& code,
                       const std::string& data,
                       const std::vector<std::string>& names,
                       std::size_t most) {
  const Table table = read_csv(data);
  const Table::Column& column = table.columns[columns_of(table, names).front()];
  const std::int64_t period = period_of(column.values);
  if (period < 2) {
    throw Error(ErrorCode::kInput,
                say(call.screen.lang, Word::kSequenceNoPeriod, call.verb, clean(column.name)));
  }
  // Stretches from the end, as long as the model reads.
  std::vector<std::vector<std::int32_t>> stretches;
  std::span<const double> left = column.values;
  while (stretches.size() < most && static_cast<std::int64_t>(left.size()) > 2 * period) {
    const auto part =
        left.last(std::min(left.size(), static_cast<std::size_t>(model.positions() - 1)));
    left = left.first(left.size() - part.size());
    const Spread spread = spread_of(part, code);
    std::vector<std::int32_t> ids{code.start};
    for (const double x : part) ids.push_back(id_of(x, spread, code));
    stretches.push_back(std::move(ids));
  }
  Measured out;
  out.pointings = doctor::table_pointings(model, stretches, period);
  const auto about = [&](Lang lang) {
    return say(lang,
               Word::kSequenceTable,
               clean(std::filesystem::path(data).filename().string()),
               clean(column.name),
               counted(lang, Word::kTableRows, period));
  };
  out.about_en = about(Lang::kEn);
  out.about_ru = about(Lang::kRu);
  return out;
}

Measured measure_moving(const Model& model, std::size_t most, std::uint64_t seed) {
  media::MovingOptions options;
  const auto* patches = model.network().pictures();
  options.height = patches->height;
  options.width = patches->width;
  options.step = patches->patch_height;
  Measured out;
  out.foretells = false;
  out.pointings = doctor::moving_pointings(model, options, static_cast<std::int64_t>(most), seed);
  about(out, Word::kSequenceMade, most, seed);
  return out;
}

std::string one_line(const Screen& screen,
                     const Pointing& p,
                     const std::vector<doctor::HeadId>& heads) {
  constexpr int kName = 32;
  std::vector<Scored> out, all;
  for (std::size_t n = 0; n < heads.size(); ++n) {
    all.push_back({heads[n], p.accuracy[n]});
    if (p.stands_out(n)) out.push_back(all.back());
  }
  const std::string tail = say(screen.lang, Word::kRolesTail, share(p.baseline), p.n);
  const int width = screen.width - kName - 4 - columns(tail);
  std::string line = heads_line(out, width);
  if (out.empty()) {
    const auto best = std::max_element(
        all.begin(), all.end(), [](const Scored& a, const Scored& b) { return a.score < b.score; });
    line = say(screen.lang, Word::kRolesNone, best->head.name() + ' ' + figure(best->score));
  }
  return "  " + left(std::string(text(screen.lang, name_of(p).word)), kName) + left(line, width) +
         "  " + paint(screen, Paint::kDim, tail) + '\n';
}

std::string render(const Screen& screen,
                   const Model& model,
                   const Measured& m,
                   const std::vector<doctor::HeadId>& heads) {
  const Lang lang = screen.lang;
  std::string out = paint(screen,
                          Paint::kTitle,
                          clean(model.name()) + ": " + std::string(text(lang, Word::kRolesTitle))) +
                    '\n';
  for (const Pointing& p : m.pointings) {
    if (p.n > 0) out += one_line(screen, p, heads);
  }
  const auto note = [&](const std::string& line) {
    out += paint(screen, Paint::kDim, "  " + wrap(line, screen.width, 2)) + '\n';
  };
  note(say(lang, Word::kSequenceNote, both(lang, m)));
  note(std::string(text(lang, m.foretells ? Word::kSequenceNext : Word::kSequenceFollow)));
  return tidy(out);
}

std::string as_json(const Model& model,
                    const Measured& m,
                    const std::vector<doctor::HeadId>& heads) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor roles");
  json.field("model", model.name()).field("data", m.about_en).key("measures").begin_array();
  for (const Pointing& p : m.pointings) {
    json.begin_object().field("name", p.name).field("n", p.n).field("baseline", p.baseline);
    json.key("heads").begin_array();
    for (std::size_t n = 0; n < heads.size(); ++n) {
      json.begin_object().field("layer", heads[n].layer).field("head", heads[n].head);
      json.field("score", p.accuracy[n]).field("label", p.stands_out(n)).end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

// The best head of each thing, where it stands out.
std::vector<Role> named(const Measured& m, const std::vector<doctor::HeadId>& heads) {
  std::vector<Role> out;
  for (const Pointing& p : m.pointings) {
    const auto best = static_cast<std::size_t>(
        std::max_element(p.accuracy.begin(), p.accuracy.end()) - p.accuracy.begin());
    if (!p.stands_out(best)) continue;
    const Name& name = name_of(p);
    Role role;
    role.layer = heads[best].layer;
    role.head = heads[best].head;
    role.letter = name.letter;
    role.shape = name.shape;
    role.en = text(Lang::kEn, name.word);
    role.ru = text(Lang::kRu, name.word);
    role.source = m.about_en;
    if (m.about_ru != m.about_en) role.source_ru = m.about_ru;
    role.score = p.accuracy[best];
    role.baseline = p.baseline;
    role.n = p.n;
    out.push_back(std::move(role));
  }
  return out;
}

}  // namespace

bool reads_sequences(const Model& model) {
  const SequenceCode code = code_beside(model);
  return code.notes || code.numbers || model.frames() > 0;
}

int sequence_roles(const Call& call,
                   const Model& model,
                   const SequenceRolesWishes& wishes,
                   std::string& out) {
  const SequenceCode code = code_beside(model);
  const bool moving = !code.notes && !code.numbers;
  if (!moving && wishes.data.empty()) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kSequenceNeedsData, call.verb, clean(model.name())));
  }
  Measured m;
  {
    const Progress progress(call.screen.lang,
                            std::string(text(call.screen.lang, Word::kDoctorLooking)));
    m = moving ? measure_moving(model, wishes.pieces, wishes.seed)
        : code.notes
            ? measure_tunes(model, *code.notes, wishes.data, wishes.pieces)
            : measure_table(call, model, *code.numbers, wishes.data, wishes.columns, wishes.pieces);
  }
  const std::vector<doctor::HeadId> heads = doctor::heads_of(model);
  if (!wishes.roles.empty()) write_roles(wishes.roles, named(m, heads));
  if (call.json) {
    out += as_json(model, m, heads);
    return 0;
  }
  out += render(call.screen, model, m, heads);
  if (!wishes.roles.empty())
    out += "  " + say(call.screen.lang, Word::kWrote, clean(wishes.roles)) + '\n';
  return 0;
}

}  // namespace headscope::cli
