"""The interactive viewer: volumes in three linked planes, in a notebook or in one file that any browser opens.

NiiVue draws (https://niivue.com, through the package ``ipyniivue``: extra ``viewer``); which volume lies where, which
colours and names its classes have, and what leaves the computer is decided here.
"""

from faimed3d.browser.case_list import save_views
from faimed3d.browser.view import View3D, view_3d
from faimed3d.browser.viewers import BasicViewer, DicomExplorer, ListViewer

__all__ = ["BasicViewer", "DicomExplorer", "ListViewer", "View3D", "save_views", "view_3d"]
