// One head on one page: one file, nothing fetched.
#include <fmt/format.h>

#include <cmath>

#include "cli/head.h"
#include "cli/see_parts.h"

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

std::string row_of(const std::string& name, bool label, const std::string& figures) {
  return fmt::format("<tr><td>{}</td><td>{}</td></tr>\n",
                     label ? "<b>" + html(name) + "</b>" : html(name),
                     html(figures));
}

std::string known_of(const Portrait& head, const Screen& screen) {
  std::string out = "<table>";
  for (const Role& role : head.known)
    out += row_of(role_name(role, screen.lang), true, role_line(screen, role));
  return out + "</table>\n";
}

std::string scores_of(const Portrait& head, Lang lang) {
  std::string out = "<table>";
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    const doctor::Score& score = head.roles.of(facts.measure);
    if (std::isnan(score.score)) continue;
    out += row_of(std::string(text(lang, word_of(facts.measure))),
                  score.label,
                  score_line(head, facts.measure, lang));
  }
  return out + "</table>\n";
}

std::string trees_of(const Portrait& head, Lang lang) {
  std::string out = "<table>";
  for (const TreeShown& tree : head.trees)
    out += row_of(tree.name, tree.label, score_line(tree, lang));
  return out + "</table>\n";
}

}  // namespace

std::string portrait_page(const Portrait& head, const Screen& screen) {
  const Lang lang = screen.lang;
  const std::string title = html(say(lang, Word::kPageTitle, head.id.name(), head.model));
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{}</title>\n{}<h1>{}</h1>\n",
      lang == Lang::kRu ? "ru" : "en",
      title,
      kStyle,
      title);
  const auto heading = [&](const std::string& what) { out += "<h2>" + html(what) + "</h2>\n"; };
  const auto remark = [&](const std::string& what) { out += "<p>" + html(what) + "</p>\n"; };
  if (!head.known.empty()) {
    heading(std::string(text(lang, Word::kPageKnown)));
    out += known_of(head, screen);
  }
  heading(say(lang, Word::kPageRoles, head.about));
  out += scores_of(head, lang);
  if (!head.trees.empty()) {
    heading(std::string(text(lang, Word::kPageTrees)));
    out += trees_of(head, lang);
    remark(head.about_trees);
  }
  heading(std::string(text(lang, Word::kPageLinks)));
  out += "<table>";
  for (const LinkShown& link : head.links)
    out += fmt::format(
        "<tr><td class=\"n\">{}</td><td>{}</td></tr>\n", share(link.weight), context_of(link));
  out += "</table>\n";
  remark(say(lang, Word::kPageLinksNote, share(head.first_mass)));
  if (!head.writes.empty()) {
    heading(std::string(text(lang, Word::kPageWrites)));
    out += rows_of(head.writes);
  }
  if (!head.seeks.empty()) {
    heading(std::string(text(lang, Word::kPageSeeks)));
    out += rows_of(head.seeks);
  }
  for (const std::string& line : circuit_notes(head, lang)) remark(line);
  if (const std::string line = removal_line(head, lang); !line.empty()) heading(line);
  return out + "</html>\n";
}

}  // namespace headscope::cli
