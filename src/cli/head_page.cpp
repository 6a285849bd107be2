// One head on one page: one file, nothing fetched.
#include <fmt/format.h>

#include "cli/head.h"

namespace headscope::cli {

namespace {

constexpr std::string_view kStyle = R"(<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1b1f;background:#fff}
table{border-collapse:collapse}td,th{padding:.1rem .8rem .1rem 0;text-align:left;vertical-align:top}
td.n{font-variant-numeric:tabular-nums;text-align:right}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}p{color:#555}
mark{background:#cfe3ff;color:#10233f;padding:0 .15rem;border-radius:3px}
mark.key{background:#ffe0bf;color:#3f2205}
@media(prefers-color-scheme:dark){body{color:#e6e6ea;background:#16161a}p{color:#a5a5ad}}
</style>
)";

std::string rows_of(std::span<const PairShown> pairs) {
  std::string out = "<table>";
  for (const PairShown& pair : pairs) {
    out += fmt::format("<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>\n",
                       figure(pair.score),
                       html(pair.from),
                       html(pair.to));
  }
  return out + "</table>\n";
}

std::string context_of(LinkShown link) {
  for (std::string* part : {&link.before, &link.between, &link.after}) *part = html(*part);
  return in_order(link,
                  "<mark>" + html(link.row) + "</mark>",
                  "<mark class=\"key\">" + html(link.key) + "</mark>");
}

std::string scores_of(const Portrait& head, Lang lang) {
  std::string out = "<table>";
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    const doctor::Score& score = head.roles.of(facts.measure);
    if (std::isnan(score.score)) continue;
    const std::string name = html(text(lang, word_of(facts.measure)));
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td></tr>\n",
        score.label ? "<b>" + name + "</b>" : name,
        html(say(lang, Word::kPageScore, figure(score.score), figure(score.baseline), score.n)));
  }
  return out + "</table>\n";
}

std::string figures_of(const doctor::Interval& x) {
  return fmt::format("{:+.4f} [{:+.4f} {:+.4f}]", x.mean, x.low, x.high);
}

}  // namespace

std::string portrait_page(const Portrait& head, Lang lang) {
  const std::string title = html(say(lang, Word::kPageTitle, head.id.name(), head.model));
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{}</title>\n{}<h1>{}</h1>\n",
      lang == Lang::kRu ? "ru" : "en",
      title,
      kStyle,
      title);
  const auto heading = [&](const std::string& what) { out += "<h2>" + html(what) + "</h2>\n"; };
  const auto note = [&](const std::string& what) { out += "<p>" + html(what) + "</p>\n"; };
  heading(say(lang, Word::kPageRoles, head.about));
  out += scores_of(head, lang);
  heading(std::string(text(lang, Word::kPageLinks)));
  out += "<table>";
  for (const LinkShown& link : head.links)
    out += fmt::format(
        "<tr><td class=\"n\">{}</td><td>{}</td></tr>\n", share(link.weight), context_of(link));
  out += "</table>\n";
  note(say(lang, Word::kPageLinksNote, share(head.first_mass)));
  if (!head.writes.empty()) {
    heading(std::string(text(lang, Word::kPageWrites)));
    out += rows_of(head.writes);
  }
  if (!head.seeks.empty()) {
    heading(std::string(text(lang, Word::kPageSeeks)));
    out += rows_of(head.seeks);
  }
  note(head.no_circuits.empty() ? say(lang, Word::kPageCircuitNote, head.words)
                                : say(lang, Word::kPageNoCircuit, head.no_circuits));
  if (head.zero)
    heading(say(lang, Word::kPageRemoval, figures_of(*head.zero), figures_of(*head.mean)));
  return out + "</html>\n";
}

}  // namespace headscope::cli
