#include "cli/see_period.h"

#include <algorithm>
#include <span>
#include <vector>

#include "headscope/forecast.h"

namespace headscope::cli {

namespace {

// What `doctor roles` asks of tables: how far back the key is, in numbers of the row's column.
enum class Claim { kPeriod, kPhase, kPrevious };

std::optional<Claim> claim_of(const Role& role) {
  if (role.en == text(Lang::kEn, Word::kSeqPeriod)) return Claim::kPeriod;
  if (role.en == text(Lang::kEn, Word::kSeqPhase)) return Claim::kPhase;
  if (role.en == text(Lang::kEn, Word::kSeqPrevious)) return Claim::kPrevious;
  return std::nullopt;
}

// The key that token i should look at; < 1: there is none. A period is counted from the number
// after i, which a row foretells. Token 0 is [start].
std::int64_t meant(Claim claim, std::int64_t i, std::int64_t period) {
  if (claim == Claim::kPrevious) return i - 1;
  return period < 2 ? 0 : (claim == Claim::kPeriod ? i + 1 : i) - period;
}

}  // namespace

std::optional<RowsHere> rows_here(const Sighting& sighting, const Role& role) {
  const std::optional<Claim> claim = claim_of(role);
  const Scene& scene = sighting.scene;
  if (!claim || scene.kind != Scene::Kind::kTable || scene.names.size() != 1)
    return std::nullopt;  // the labels were measured on single columns
  const FocusRecord& record = sighting.layers.at(static_cast<std::size_t>(role.layer));
  const bool recorded =
      std::find(record.heads.begin(), record.heads.end(), role.head) != record.heads.end();
  if (!recorded || record.rows != record.keys) return std::nullopt;
  RowsHere out;
  out.needs_period = *claim != Claim::kPrevious;
  if (out.needs_period) out.period = period_of(std::span(scene.values).subspan(1));
  std::vector<float> weights;
  for (std::int64_t i = 1; i < record.rows; ++i) {
    const std::int64_t key = meant(*claim, i, out.period);
    if (key < 1) continue;
    weights.resize(static_cast<std::size_t>(i + 1));
    record.row(0, role.head, i, 0, weights);
    ++out.rows;
    out.hits += std::max_element(weights.begin(), weights.end()) - weights.begin() == key ? 1 : 0;
  }
  const bool none = out.needs_period && out.period < 2;
  return out.rows > 0 || none ? std::optional(out) : std::nullopt;
}

std::string say_rows_here(Lang lang, const RowsHere& here) {
  if (here.needs_period && here.period < 2) return std::string(text(lang, Word::kNoPeriodHere));
  const std::string rows = counted(lang, Word::kOfRows, here.rows);
  std::string out = here.hits > 0 ? say(lang, Word::kShownInRows, here.hits, rows)
                                  : say(lang, Word::kNotShownInRows, rows);
  if (here.needs_period) out += ' ' + say(lang, Word::kPeriodHere, here.period);
  return out;
}

}  // namespace headscope::cli
