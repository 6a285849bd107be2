#include "cli/see_period.h"

#include <algorithm>

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

// The period of each column as it is seen here; tokens are [start], then row after row.
std::vector<std::int64_t> periods_of(const Scene& scene) {
  const std::size_t across = scene.names.size();
  std::vector<std::int64_t> out;
  for (std::size_t c = 0; c < across; ++c) {
    std::vector<double> column;
    for (std::size_t i = 1 + c; i < scene.values.size(); i += across)
      column.push_back(scene.values[i]);
    out.push_back(period_of(column));
  }
  return out;
}

// The key that token i should look at; < 1: there is none. A period is counted from the number after i, which a row
// foretells.
std::int64_t meant(Claim claim,
                   std::int64_t i,
                   std::int64_t across,
                   const std::vector<std::int64_t>& periods) {
  if (claim == Claim::kPrevious) return i - across;
  const std::int64_t from = claim == Claim::kPeriod ? i + 1 : i;
  const std::int64_t period = periods[static_cast<std::size_t>((from - 1) % across)];
  return period < 2 ? 0 : from - period * across;
}

}  // namespace

std::optional<RowsHere> rows_here(const Sighting& sighting, const Role& role) {
  const std::optional<Claim> claim = claim_of(role);
  const Scene& scene = sighting.scene;
  if (!claim || scene.kind != Scene::Kind::kTable || scene.names.empty()) return std::nullopt;
  const FocusRecord& record = sighting.layers.at(static_cast<std::size_t>(role.layer));
  const bool recorded =
      std::find(record.heads.begin(), record.heads.end(), role.head) != record.heads.end();
  if (!recorded || record.rows != record.keys) return std::nullopt;
  const std::vector<std::int64_t> periods = periods_of(scene);
  RowsHere out;
  out.needs_period = *claim != Claim::kPrevious;
  std::vector<float> weights;
  for (std::int64_t i = 1; i < record.rows; ++i) {
    const std::int64_t key =
        meant(*claim, i, static_cast<std::int64_t>(scene.names.size()), periods);
    if (key < 1) continue;
    weights.resize(static_cast<std::size_t>(i + 1));
    record.row(0, role.head, i, 0, weights);
    ++out.rows;
    out.hits += std::max_element(weights.begin(), weights.end()) - weights.begin() == key ? 1 : 0;
  }
  if (!out.needs_period) return out;
  for (const std::int64_t period : periods) {
    const bool known =
        std::find(out.periods.begin(), out.periods.end(), period) != out.periods.end();
    if (period > 1 && !known) out.periods.push_back(period);
  }
  return out;
}

std::string say_rows_here(Lang lang, const RowsHere& here) {
  if (here.needs_period && here.periods.empty())
    return std::string(text(lang, Word::kNoPeriodHere));
  const std::string rows = counted(lang, Word::kOfRows, here.rows);
  std::string out = here.hits > 0 ? say(lang, Word::kShownInRows, here.hits, rows)
                                  : say(lang, Word::kNotShownInRows, rows);
  std::string periods;
  for (const std::int64_t period : here.periods)
    periods += (periods.empty() ? "" : ", ") + std::to_string(period);
  if (!periods.empty()) out += ' ' + say(lang, Word::kPeriodHere, periods);
  return out;
}

}  // namespace headscope::cli
