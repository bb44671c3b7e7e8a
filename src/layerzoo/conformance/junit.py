"""Reports in the form of JUnit, which CI systems display."""

from __future__ import annotations

from xml.etree import ElementTree

from layerzoo.conformance.report import Report
from layerzoo.printable import printable_lines


def junit(report: Report) -> str:
    """Return a report as JUnit XML: a test case for each check of each plugin or model.

    An expected failure is a skipped test with its reason, as pytest writes it. A gap is a test that fails.
    XML 1.0 has no control characters and no unpaired surrogates, which are written as escapes.
    """
    suites = ElementTree.Element("testsuites")
    cases = len(report.results) + len(report.gaps)
    failures = report.counts["failed"] + len(report.gaps)
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name="zoo plugin check",
        tests=str(cases),
        failures=str(failures),
        errors="0",
        skipped=str(report.counts["skipped"] + report.counts["expected"]),
        time=f"{sum(result.seconds for result in report.results):.3f}",
    )
    for result in report.results:
        name = result.model or result.plugin
        case = ElementTree.SubElement(
            suite, "testcase", classname=printable_lines(name), name=result.code, time=f"{result.seconds:.3f}"
        )
        for finding in result.findings if result.outcome == "failed" else ():
            failure = ElementTree.SubElement(case, "failure", message=printable_lines(finding.cause), type=finding.code)
            failure.text = printable_lines(f"{finding.place or name}: {finding.cause}\nNext: {finding.fix}")
        if result.outcome in ("skipped", "expected"):
            ElementTree.SubElement(case, "skipped", message=printable_lines(result.reason or ""))
    for gap in report.gaps:
        case = ElementTree.SubElement(suite, "testcase", classname="zoo plugin check", name="enough ran")
        ElementTree.SubElement(case, "failure", message=printable_lines(gap), type="too little ran")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)
